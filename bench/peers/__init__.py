"""Each kind of server: how to run it, and the protocol of its clients."""
