"""Thousands of rogue connections to an edge, in one thread of a process of their own."""

import contextlib
import errno
import itertools
import os
import resource
import select
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop, heappush

import orjson

from bench.load.dialect import opening
from tests.support.websocket_frames import TEXT, client_frame

LOWEST_PRIORITY = 19
"""Attackers have machines of their own: here they take the time that nobody else wants."""
ADDRESSES = 100
"""Loopback addresses from which they come."""
TURN_S = 0.005
READY_A_TURN = 256
AT_ONCE = 64
"""Connections that are opened in one turn."""
AGAIN_S = 1.0
"""Seconds from the end of a connection to the next one."""
FLOOD_FRAMES = 100
SILENT, BAD_TOKEN, FLOODING, SUBSCRIBING = "silent", "bad token", "flooding", "subscribing"
MIXED = (SILENT, BAD_TOKEN, FLOODING, SUBSCRIBING)


@dataclass(frozen=True)
class Siege:
    """The rogues that come to an edge."""

    port: int
    count: int
    kinds: tuple[str, ...]
    """Rogue n is of the kind n % len(kinds)."""
    tokens: tuple[str, ...]
    """Rogue n, if it is a user, has the token n % len(tokens)."""
    topics: int = 0
    """That one of the kind `subscribing` subscribes to."""
    addresses: int = ADDRESSES


class _Rogue:
    """One connection after the other of one kind."""

    def __init__(self, number: int, siege: Siege) -> None:
        self.number = number
        self.kind = siege.kinds[number % len(siege.kinds)]
        self.socket: socket.socket | None = None
        self.is_connecting = True
        self._siege = siege
        self._toggles = itertools.cycle(("subscribe", "unsubscribe"))

    def connect(self) -> int:
        """Begin a connection; return its descriptor."""
        self.socket = made = socket.socket()
        made.setblocking(False)
        made.bind((f"127.0.1.{1 + self.number % self._siege.addresses}", 0))
        self.is_connecting = True
        error = made.connect_ex(("127.0.0.1", self._siege.port))
        if error not in (0, errno.EINPROGRESS):
            raise OSError(error, "connect")
        return made.fileno()

    def begin(self) -> None:
        """Send the first bytes, and all that its kind sends."""
        self.is_connecting = False
        if self.kind == SILENT:
            return
        tokens = self._siege.tokens
        token = "forged" if self.kind == BAD_TOKEN else tokens[self.number % len(tokens)]
        headers = f"Authorization: Bearer {token}\r\n"
        self._send(opening(self._siege.port, "/ws", headers))
        if self.kind == SUBSCRIBING:
            first = self.number * self._siege.topics
            topics = range(first, first + self._siege.topics)
            self._send(b"".join(_request("subscribe", f"event:rogue{each}:*") for each in topics))

    def flood(self) -> None:
        """Send as much as the edge takes."""
        topic = f"resource-monitor:rogue{self.number}"
        self._send(b"".join(_request(next(self._toggles), topic) for _ in range(FLOOD_FRAMES)))

    def read(self) -> None:
        """Throw away what comes. Raises `OSError` at the end."""
        assert self.socket is not None
        if not self.socket.recv(65536):
            raise ConnectionResetError(errno.ECONNRESET, "closed")

    def _send(self, data: bytes) -> None:
        assert self.socket is not None
        with contextlib.suppress(BlockingIOError):
            self.socket.send(data)


class Rogues:
    """All rogues of a siege; `idle` is one turn."""

    def __init__(self, siege: Siege) -> None:
        os.nice(LOWEST_PRIORITY)
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self._epoll = select.epoll()
        self._rogues = [_Rogue(number, siege) for number in range(siege.count)]
        self._by_descriptor: dict[int, _Rogue] = {}
        self._due: list[tuple[float, int]] = []
        self._most = 0
        self._ended = 0
        self._flooding: list[_Rogue] = []
        self._is_over = True

    def begin(self) -> None:
        """Come, and go on until `end`."""
        self._due = [(0.0, rogue.number) for rogue in self._rogues]
        self._is_over = False

    def end(self) -> tuple[int, int]:
        """Hang up all at once; return how many were connected at most, and how many were ended."""
        self._is_over = True
        for rogue in self._by_descriptor.values():
            if rogue.socket is not None:
                rogue.socket.close()
        self._by_descriptor, self._flooding = {}, []
        return self._most, self._ended

    def idle(self) -> None:
        """Wait shortly, and serve those that are ready."""
        if self._is_over:
            time.sleep(TURN_S)
            return
        for _ in range(AT_ONCE):
            if not self._due or self._due[0][0] > time.monotonic():
                break
            self._connect(self._rogues[heappop(self._due)[1]])
        for descriptor, events in self._epoll.poll(TURN_S, READY_A_TURN):
            rogue = self._by_descriptor[descriptor]
            self._attempt(rogue, self._begin if rogue.is_connecting else _Rogue.read, events)
        for rogue in self._flooding[:READY_A_TURN]:
            self._attempt(rogue, _Rogue.flood)
        # Others have their turn next.
        self._flooding = self._flooding[READY_A_TURN:] + self._flooding[:READY_A_TURN]
        self._most = max(self._most, len(self._by_descriptor))

    def _connect(self, rogue: _Rogue) -> None:
        try:
            descriptor = rogue.connect()
        except OSError:
            heappush(self._due, (time.monotonic() + AGAIN_S, rogue.number))
            return
        self._by_descriptor[descriptor] = rogue
        self._epoll.register(descriptor, select.EPOLLOUT)

    def _begin(self, rogue: _Rogue) -> None:
        assert rogue.socket is not None
        self._epoll.modify(rogue.socket.fileno(), select.EPOLLIN)
        rogue.begin()
        if rogue.kind == FLOODING:
            self._flooding.append(rogue)

    def _attempt(self, rogue: _Rogue, action: Callable[[_Rogue], None], events: int = 0) -> None:
        try:
            if events & (select.EPOLLERR | select.EPOLLHUP):
                raise ConnectionResetError(errno.ECONNRESET, "reset")
            action(rogue)
        except BlockingIOError:
            pass
        except OSError:
            self._lose(rogue)

    def _lose(self, rogue: _Rogue) -> None:
        assert rogue.socket is not None
        self._by_descriptor.pop(rogue.socket.fileno(), None)
        rogue.socket.close()
        if rogue in self._flooding:
            self._flooding.remove(rogue)
        self._ended += 1
        heappush(self._due, (time.monotonic() + AGAIN_S, rogue.number))


def _request(action: str, topic: str) -> bytes:
    return client_frame(TEXT, orjson.dumps({"action": action, "topic": topic}))
