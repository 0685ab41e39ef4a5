"""The relay's sockets: what listens, who has connected, what waits for them.

A `Port` is one of the relay's three sockets. It accepts `Peer`s, reads what they send as far as the
relay has room, and writes what waits for them, within bounds of bytes and of time. The relay's loop
decides when; nothing here blocks. `relay.zmtp` has the protocol that peers speak.
"""
