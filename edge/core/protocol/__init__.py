"""The JSON messages of `/ws` (protocol section 7): requests, replies, and messages sent unasked."""
