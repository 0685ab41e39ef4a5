"""The requests of one client of the relay's control socket: unsent, unanswered, or due again.

Without I/O: the owner sends `next_unsent`, hands reply frames to `take_reply`, and calls
`check_unanswered` from time to time (protocol section 4).
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from relay.wire.control import Reply, Request, reply_id, unpack_reply

W = TypeVar("W")


class TooManyRequests(Exception):  # noqa: N818 - clear without a suffix
    """The request was refused: too many are unsent or unanswered already."""


@dataclass(slots=True)
class _Entry(Generic[W]):
    request: Request
    waiter: W
    is_kept: bool
    sent_at: float | None = None
    """None while unsent."""


class RequestTable(Generic[W]):
    """Matches replies to requests by `id`; a `waiter` of type `W` comes back with each reply.

    A kept request is sent again until it is dropped. Any other request is dropped when it stays
    unanswered for `timeout_s`: its owner adds a new one, which begins at its new position. At most
    `max_requests` are in the table; `add` refuses more.
    """

    def __init__(self, max_requests: int, timeout_s: float) -> None:
        self._max_requests = max_requests
        self._timeout_s = timeout_s
        self._next_id = 1
        self._entries: dict[int, _Entry[W]] = {}
        self._unsent: deque[int] = deque()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def waiters(self) -> Iterator[W]:
        """The waiters of all requests, in the order of the requests."""
        return (entry.waiter for entry in self._entries.values())

    def add(self, make: Callable[[int], Request], waiter: W, *, keep: bool = False) -> int:
        """Add the request `make(id)`, to be sent, and return its id. Raises `TooManyRequests`."""
        if len(self._entries) >= self._max_requests:
            raise TooManyRequests(f"{self._max_requests} requests to the relay are unanswered")
        identifier = self._next_id
        self._next_id += 1
        self._entries[identifier] = _Entry(make(identifier), waiter, keep)
        self._unsent.append(identifier)
        return identifier

    def drop(self, identifier: int) -> None:
        """Forget a request; a reply to it is ignored. Unknown ids are ignored as well."""
        entry = self._entries.pop(identifier, None)
        if entry is not None and entry.sent_at is None:
            # Otherwise the ids of dropped requests would pile up behind one that cannot be sent.
            self._unsent.remove(identifier)

    def next_unsent(self) -> Request | None:
        """Return the request to be sent next, None if there is none; see `was_sent`."""
        while self._unsent:
            # An id may be stale: its request was dropped while it was queued.
            entry = self._entries.get(self._unsent[0])
            if entry is not None and entry.sent_at is None:
                return entry.request
            self._unsent.popleft()
        return None

    def was_sent(self, now: float) -> None:
        """Note that the request of `next_unsent` was sent at `now`, in seconds."""
        self._entries[self._unsent.popleft()].sent_at = now

    def take_reply(self, frame: bytes) -> tuple[int, W, Reply] | None:
        """Return id, waiter and reply for a reply frame, None if its request is not in the table.

        The request stays in the table until `drop`: after an error reply, for example, a kept
        request is sent again after `timeout_s`. Raises `WireError`.
        """
        identifier = reply_id(frame)
        entry = self._entries.get(identifier)
        if entry is None:
            return None
        return identifier, entry.waiter, unpack_reply(frame, type(entry.request))

    def check_unanswered(self, now: float) -> None:
        """Queue kept requests that are unanswered for `timeout_s` again, and drop the others."""
        # A copy, because requests are dropped on the way.
        for identifier, entry in list(self._entries.items()):
            if entry.sent_at is None or now - entry.sent_at < self._timeout_s:
                continue
            self._queue_or_drop(identifier, entry)

    def relay_restarted(self) -> None:
        """Queue every kept request again, and drop the others that were sent.

        The new relay has received none of them.
        """
        self._unsent.clear()
        # From all entries, so that the requests are sent in the order in which they were added.
        for identifier, entry in list(self._entries.items()):
            if entry.sent_at is None:
                self._unsent.append(identifier)
            else:
                self._queue_or_drop(identifier, entry)

    def _queue_or_drop(self, identifier: int, entry: _Entry[W]) -> None:
        if entry.is_kept:
            entry.sent_at = None
            self._unsent.append(identifier)
        else:
            del self._entries[identifier]
