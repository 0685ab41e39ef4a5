"""One rogue peer of one of the relay's sockets, as fast as libzmq lets it."""

import contextlib
import itertools
import os
import random

import zmq

from bench.load.rogues import LOWEST_PRIORITY
from relay.shared.curve_keys import ClientKeys
from relay.shared.transport import connect
from relay.wire.control import ReplayRequest, StatsRequest, pack_message

A_TURN = 200
PREFIXES = 5_000
JUNK = (
    (b"event:junk", b"\xc1"),
    (b"event:junk", bytes(33), b"\x80"),
    (b"live:junk", b"\x91" * 500),
)
REQUESTS = tuple(
    pack_message(request)
    for request in (StatsRequest(id=1), ReplayRequest(id=2, stream="event", after=0))
)


class RoguePeer:
    """Sends what it can; `idle` is one turn."""

    def __init__(self, socket_name: str, endpoint: str, keys: ClientKeys | None) -> None:
        """`socket_name` is `ingress`, `egress` or `control`."""
        os.nice(LOWEST_PRIORITY)
        kinds = {"ingress": zmq.PUB, "egress": zmq.SUB, "control": zmq.DEALER}
        self._act = getattr(self, f"_{socket_name}")
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(kinds[socket_name])
        self._socket.linger = 0
        connect(self._socket, endpoint, keys)
        self._chance = random.Random(0)
        self._numbers = itertools.count()
        self._is_active = False

    def begin(self) -> None:
        """Go on until `end`."""
        self._is_active = True

    def end(self) -> tuple[int, int]:
        """Hang up; return 1, and how many turns it had."""
        self._is_active = False
        self._context.destroy(linger=0)
        return 1, next(self._numbers)

    def idle(self) -> None:
        """Take one turn."""
        if not self._is_active:
            return
        next(self._numbers)
        with contextlib.suppress(zmq.Again):
            for _ in range(A_TURN):
                self._act()

    def _ingress(self) -> None:
        self._socket.send_multipart(self._chance.choice(JUNK), zmq.DONTWAIT)

    def _egress(self) -> None:
        prefix = b"live:%d" % self._chance.randrange(PREFIXES)
        option = self._chance.choice((zmq.SUBSCRIBE, zmq.UNSUBSCRIBE))
        with contextlib.suppress(zmq.ZMQError):  # of a subscription that there is not
            self._socket.setsockopt(option, prefix)

    def _control(self) -> None:
        self._socket.send(self._chance.choice(REQUESTS), zmq.DONTWAIT)
        with contextlib.suppress(zmq.Again):
            self._socket.recv(zmq.DONTWAIT)
