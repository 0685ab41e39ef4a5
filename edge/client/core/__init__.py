"""The decisions of the Python client, without I/O: no socket, no clock, nothing that waits.

`conversation` is the client's side of `/ws` across all its connections. `subscriptions` holds the
patterns, `position` what the client has, `messages` the values of the application, `policy` the
reaction to close codes, and `liveness` the deadlines.
"""
