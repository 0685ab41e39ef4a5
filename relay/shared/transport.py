"""ZeroMQ sockets as every process of ours sets them up. Shared by relay, edge and emitters.

Options must be set before `bind` or `connect`; `docs/decisions/0003-zeromq-options.md` says why
each has its value.
"""

import zmq
from zmq import backend

from relay.wire.envelope import MAX_ENVELOPE_BYTES

KEEPALIVE_IDLE_S = 2
KEEPALIVE_INTERVAL_S = 1
KEEPALIVE_COUNT = 3
UNACKNOWLEDGED_MS = 5_000
"""A connection ends when the peer has not taken what was sent for so long. The kernel looks when it
probes, and doubles the time between its probes."""
HANDSHAKE_TIMEOUT_MS = 3000
RECONNECT_INTERVAL_MS = 100
MAX_FRAME_BYTES = 16 * MAX_ENVELOPE_BYTES
"""libzmq cuts the connection of a peer that sends a larger frame. Envelopes between their own
limit and this one are refused by the relay, which counts and logs them."""

Socket = zmq.Socket[bytes]


def open_socket(context: "zmq.Context[Socket]", kind: int) -> Socket:
    """Return a socket with our options, not yet bound or connected.

    A host that is gone is noticed within 5 s, 10 s if something is on its way to it; what was
    queued for it is given up rather than kept for its successor.
    """
    socket = context.socket(kind)
    socket.linger = 0
    socket.setsockopt(zmq.IMMEDIATE, kind != zmq.SUB)
    socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_TIMEOUT_MS)
    socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
    socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, KEEPALIVE_IDLE_S)
    socket.setsockopt(zmq.TCP_KEEPALIVE_INTVL, KEEPALIVE_INTERVAL_S)
    socket.setsockopt(zmq.TCP_KEEPALIVE_CNT, KEEPALIVE_COUNT)
    socket.setsockopt(zmq.TCP_MAXRT, UNACKNOWLEDGED_MS)
    socket.setsockopt(zmq.RECONNECT_IVL, RECONNECT_INTERVAL_MS)
    socket.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME_BYTES)
    return socket


_LAST = int(zmq.NOBLOCK)
_MORE = int(zmq.NOBLOCK | zmq.SNDMORE)
_send = backend.Socket.send


def send_frames(socket: Socket, frames: tuple[bytes, bytes, bytes]) -> None:
    """Send one message without waiting, or raise `zmq.Again`.

    pyzmq's own `send_multipart` checks every frame and adds enumerations up: 5 µs, and this 1.
    """
    first, second, last = frames
    _send(socket, first, _MORE)
    _send(socket, second, _MORE)
    _send(socket, last, _LAST)


def receive_frames(socket: Socket) -> list[bytes]:
    """Return the next message without waiting, or raise `zmq.Again`.

    pyzmq's own `recv_multipart` asks the socket after every frame whether there is more: 4 µs; the
    frames know it themselves: 2.4.
    """
    frame = socket.recv(_LAST, copy=False)
    frames = [frame.bytes]
    while frame.more:
        frame = socket.recv(_LAST, copy=False)
        frames.append(frame.bytes)
    return frames
