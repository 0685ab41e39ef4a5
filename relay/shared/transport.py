"""ZeroMQ sockets with the options that relay, edge and emitters share.

Options must be set before `bind` or `connect`. `docs/decisions/0003-zeromq-options.md` gives the
reason for each value.
"""

from socket import AF_INET, AF_INET6, SOCK_STREAM, getaddrinfo

import zmq
from zmq import backend

from relay.shared.addresses import ZmqAddress, parse_peer_address, parse_zmq_address
from relay.shared.curve_keys import ClientKeys
from relay.shared.interruptible import signals_held
from relay.wire.envelope import MAX_ENVELOPE_BYTES
from relay.wire.header import StampedFrames

KEEPALIVE_IDLE_S = 2
KEEPALIVE_INTERVAL_S = 1
KEEPALIVE_COUNT = 3
UNACKNOWLEDGED_MS = 5_000
"""A connection is closed when the peer has acknowledged no sent data for so long. The kernel checks
it with its probes, and doubles the time between them."""
HANDSHAKE_TIMEOUT_MS = 3000
RECONNECT_INTERVAL_MS = 100
MAX_FRAME_BYTES = 16 * MAX_ENVELOPE_BYTES
"""libzmq closes the connection of a peer that sends a larger frame. The relay refuses, counts and
logs an envelope between its own limit and this one."""

Socket = zmq.Socket[bytes]


def open_socket(context: "zmq.Context[Socket]", kind: int) -> Socket:
    """Return a socket with our options, neither bound nor connected.

    The loss of a host is noticed within 5 s, or 10 s if data was on its way to it. Messages that
    were queued for it are dropped, not kept for its successor.
    """
    # An exception of a signal handler could leave a socket of which the context does not know, and
    # the end of the context would wait for that socket for ever.
    with signals_held():
        socket = context.socket(kind)
    # Closing must never hang on a peer that does not read.
    socket.linger = 0
    # Queue nothing for a peer that is not connected. Not on a SUB: libzmq aborts the process if
    # the connection breaks between two frames of a message that is being read.
    socket.setsockopt(zmq.IMMEDIATE, kind != zmq.SUB)
    # Otherwise a peer that connects and never speaks is waited for without end.
    socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_TIMEOUT_MS)
    # TCP notices lost hosts. ZMTP heartbeats are off: they can abort the process in libzmq 4.3.5.
    socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
    socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, KEEPALIVE_IDLE_S)
    socket.setsockopt(zmq.TCP_KEEPALIVE_INTVL, KEEPALIVE_INTERVAL_S)
    socket.setsockopt(zmq.TCP_KEEPALIVE_CNT, KEEPALIVE_COUNT)
    socket.setsockopt(zmq.TCP_MAXRT, UNACKNOWLEDGED_MS)
    socket.setsockopt(zmq.RECONNECT_IVL, RECONNECT_INTERVAL_MS)
    socket.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME_BYTES)
    return socket


def connect(socket: Socket, endpoint: str, keys: ClientKeys | None = None) -> None:
    """Connect `socket` to `endpoint`, whether anybody listens there or not.

    With `keys` the connection is encrypted over TCP, and nobody is spoken to but the relay with
    that key. On a Unix socket the kernel tells the relay who we are, and we look whose it is.

    The name of a host is looked up once to choose between IPv4 and IPv6; an answer may take as long
    as the name server does.
    """
    address = parse_peer_address(endpoint)
    if keys is not None and not address.path:
        socket.setsockopt(zmq.CURVE_PUBLICKEY, keys.own.public)
        socket.setsockopt(zmq.CURVE_SECRETKEY, keys.own.secret)
        socket.setsockopt(zmq.CURVE_SERVERKEY, keys.relay)
    socket.setsockopt(zmq.IPV6, _needs_ipv6(address))
    socket.connect(str(address))


def bind(socket: Socket, endpoint: str) -> None:
    """Have `socket` listen at `endpoint`. Raises `zmq.ZMQError`.

    `tcp://*:PORT` listens on every interface, with IPv4 and IPv6.
    """
    address = parse_zmq_address(endpoint)
    socket.setsockopt(zmq.IPV6, address.host == "*" or _needs_ipv6(address))
    socket.bind(str(address))


def _needs_ipv6(address: ZmqAddress) -> bool:
    """Return whether the host has an IPv6 address only.

    With libzmq's option for IPv6, a name stands for its IPv6 address and no other is tried, even
    where the relay listens with IPv4 only.
    """
    if not address.is_name:
        return address.is_ipv6
    try:
        found = getaddrinfo(address.host, address.port, type=SOCK_STREAM)
    except OSError:
        # libzmq looks it up again with each attempt to connect.
        return False
    families = {family for family, *_ in found}
    return AF_INET6 in families and AF_INET not in families


_LAST = int(zmq.NOBLOCK)
_MORE = int(zmq.NOBLOCK | zmq.SNDMORE)
_send = backend.Socket.send


def send_frames(socket: Socket, frames: StampedFrames) -> None:
    """Send one message without waiting. Raises `zmq.Again`.

    It takes 1 µs. pyzmq's `send_multipart` takes 5 µs, because it checks every frame and combines
    enumeration members.
    """
    first, second, last = frames
    _send(socket, first, _MORE)
    _send(socket, second, _MORE)
    _send(socket, last, _LAST)


def receive_frames(socket: Socket) -> list[bytes]:
    """Return the next message without waiting. Raises `zmq.Again`.

    It takes 2.4 µs. pyzmq's `recv_multipart` takes 4 µs, because it asks the socket after every
    frame if more follow; the frames know that themselves.
    """
    frame = socket.recv(_LAST, copy=False)
    frames = [frame.bytes]
    while frame.more:
        frame = socket.recv(_LAST, copy=False)
        frames.append(frame.bytes)
    return frames
