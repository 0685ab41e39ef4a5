"""`Calls`: which process answers which method, and for whom each call waits (section 4)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from relay.wire.calls import LEASE_S

MAX_REGISTRATIONS = 20_000
"""Methods of all processes together; further ones are refused."""
MAX_WAITING = 20_000
"""Calls without a result. With more, the newest is refused."""
MAX_WAITING_PER_CALLER = 2_000


class CallRefused(Exception):  # noqa: N818
    """There is no room; the text says for what."""


class Waiting(NamedTuple):
    """A call that was passed on."""

    caller: bytes
    number: int
    """The caller's own."""
    server: bytes
    expires_at: float


@dataclass(slots=True)
class _Answerer:
    methods: frozenset[str]
    expires_at: float


class Calls:
    """Peers are the routing ids of the control socket. `now` is in seconds, monotonic."""

    def __init__(self, first_number: int = 1) -> None:
        """`first_number` is that of the first call.

        It should differ from relay to relay: a process that is still busy with a call of the relay
        before would give its answer to whoever has the same number now.
        """
        self._servers: dict[bytes, _Answerer] = {}
        self._by_method: dict[str, dict[bytes, None]] = {}
        """The peers that answer a method, the one whose turn it is first."""
        self._waiting: dict[int, Waiting] = {}
        self._by_caller: dict[bytes, int] = {}
        """How many calls wait for each caller."""
        self._next_number = first_number

    def waiting(self, now: float) -> int:
        """Return the number of calls for whose results somebody waits."""
        self._expire(now)
        return len(self._waiting)

    def serve(self, peer: bytes, methods: Iterable[str], now: float) -> None:
        """Register `methods` as those of `peer`, in the place of earlier ones.

        Raises `CallRefused`.
        """
        wanted = frozenset(methods)
        known = self._servers.get(peer)
        if known is not None and known.methods == wanted:
            known.expires_at = now + LEASE_S
            return
        self.forget_server(peer)
        if self._registered + len(wanted) > MAX_REGISTRATIONS:
            for gone in [each for each, it in self._servers.items() if it.expires_at <= now]:
                self.forget_server(gone)
            if self._registered + len(wanted) > MAX_REGISTRATIONS:
                raise CallRefused(f"{MAX_REGISTRATIONS} methods are registered already")
        self._servers[peer] = _Answerer(wanted, now + LEASE_S)
        for method in wanted:
            self._by_method.setdefault(method, {})[peer] = None

    @property
    def _registered(self) -> int:
        return sum(len(each.methods) for each in self._servers.values())

    def forget_server(self, peer: bytes) -> None:
        """The process is gone: it answers nothing any more."""
        server = self._servers.pop(peer, None)
        for method in server.methods if server is not None else ():
            peers = self._by_method[method]
            del peers[peer]
            if not peers:
                del self._by_method[method]

    def servers_of(self, method: str, now: float) -> Iterator[bytes]:
        """Yield the peers that answer `method`, each in its turn."""
        for peer in tuple(self._by_method.get(method, ())):
            if self._servers[peer].expires_at > now:
                yield peer

    def begin(self, caller: bytes, number: int, now: float, timeout_s: float) -> int:
        """Return the number for a new call. Raises `CallRefused`."""
        if not self._has_room(caller):
            self._expire(now)
        if not self._has_room(caller):
            raise CallRefused("too many calls wait for an answer already")
        own, self._next_number = self._next_number, self._next_number + 1
        self._waiting[own] = Waiting(caller, number, b"", now + timeout_s)
        self._by_caller[caller] = self._by_caller.get(caller, 0) + 1
        return own

    def passed_on(self, own: int, method: str, server: bytes) -> None:
        """The call `own` was sent to `server`, which waits longest for its next turn now."""
        self._waiting[own] = self._waiting[own]._replace(server=server)
        peers = self._by_method.get(method)
        if peers is not None and server in peers:
            del peers[server]
            peers[server] = None

    def end(self, own: int, server: bytes | None = None) -> Waiting | None:
        """Return who waits for the call `own`, and forget it.

        None if nobody waits, or if it is not `server` that was asked.
        """
        waiting = self._waiting.get(own)
        if waiting is None or (server is not None and waiting.server != server):
            return None
        del self._waiting[own]
        left = self._by_caller[waiting.caller] - 1
        if left:
            self._by_caller[waiting.caller] = left
        else:
            del self._by_caller[waiting.caller]
        return waiting

    def _has_room(self, caller: bytes) -> bool:
        return (
            len(self._waiting) < MAX_WAITING
            and self._by_caller.get(caller, 0) < MAX_WAITING_PER_CALLER
        )

    def _expire(self, now: float) -> None:
        """Forget calls whose caller waits no longer."""
        for own in [own for own, each in self._waiting.items() if each.expires_at <= now]:
            self.end(own)
