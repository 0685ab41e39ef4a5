"""ZMTP 3.1, the protocol of ZeroMQ sockets, on the side that listens; no I/O.

libzmq bounds its queues in messages and not in bytes, takes a message of any number of frames, and
keeps every subscription that a peer sends. So a peer of a libzmq socket decides how much memory the
process takes. The relay reads and writes the protocol by itself: `docs/decisions/0041-zmtp.md`.

A `Connection` takes the bytes of one TCP or Unix connection and gives messages back:

1. `greeting`: both sides send 64 bytes with the version and the name of a security mechanism.
2. The mechanism, `NULL` (`null_mechanism`) or `CURVE` (`curve_mechanism`), exchanges commands. At
   its end each side knows the type of the other's socket, and with CURVE the other's public key.
3. Then each side sends messages of frames (`reader`, `frames`), which CURVE encrypts.

Whatever breaks the protocol or a bound raises `ZmtpError`; the connection is of no use afterwards.

The specifications are those of the ZeroMQ project: RFC 37 (ZMTP 3.1) and RFC 26 (CurveZMQ).
"""
