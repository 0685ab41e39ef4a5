"""The formats of the protocol: topics, envelopes, headers, control messages. No sockets, no clock.

Every parser here accepts any bytes and returns a value or raises a `WireError`, nothing else.
`docs/protocol.md` describes the same formats, and `tests/vectors/` pins them.
"""
