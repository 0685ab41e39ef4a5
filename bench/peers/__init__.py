"""How each kind of server is run, and how its clients talk to it."""
