"""Helpers for the transports of connections: half closing, encryption, descriptors."""

import asyncio

from edge.core.websocket.server_protocol import NO_FD


def half_close(transport: asyncio.Transport) -> None:
    """End our side of a connection behind what was written, and leave it to the peer to hang up.

    A socket that is closed with unread data sends a reset, which would destroy our last words on
    their way to the peer.
    """
    if transport.is_closing():
        return
    if transport.can_write_eof():
        transport.write_eof()
    elif is_encrypted(transport):
        # TLS says goodbye behind what was written, and reads until the peer has answered.
        transport.close()


def is_encrypted(transport: asyncio.BaseTransport) -> bool:
    """Return whether the edge itself encrypts the connection."""
    return transport.get_extra_info("sslcontext") is not None


def plain_fd(transport: asyncio.Transport) -> int:
    """Return the socket's descriptor if bytes may bypass the transport: not under encryption."""
    sock = transport.get_extra_info("socket")
    if sock is None or is_encrypted(transport):
        return NO_FD
    descriptor: int = sock.fileno()
    return descriptor
