"""The requests of one client of the relay's control socket: unsent, unanswered, or due again.

Without I/O: the owner sends `next_unsent` and hands reply frames to `take_reply`. Nothing is sent
again because time has passed, for an answer may be on its way over a slow connection. The relay
answers a connection in order, so an answer shows which requests were lost (protocol section 4).
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

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
    due_at: float | None = None
    """When to send it again, None unless it was postponed."""


class Answer(NamedTuple, Generic[W]):
    """A reply, and the request that it answers."""

    identifier: int
    waiter: W
    reply: Reply
    sent_at: float


class RequestTable(Generic[W]):
    """Matches replies to requests by `id`; a `waiter` of type `W` comes back with each reply.

    A kept request is sent again after it was lost, until it is dropped. Any other one is dropped
    when it is lost: its owner adds a new one, which begins at its new position. At most
    `max_requests` are in the table; `add` refuses more.
    """

    def __init__(self, max_requests: int) -> None:
        self._max_requests = max_requests
        self._next_id = 1
        self._entries: dict[int, _Entry[W]] = {}
        self._unsent: deque[int] = deque()
        self._sent: dict[int, None] = {}
        """The ids of unanswered requests, in the order in which they were sent."""

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
        self._sent.pop(identifier, None)
        if entry is not None and entry.sent_at is None and entry.due_at is None:
            # Otherwise the ids of dropped requests would pile up behind one that cannot be sent.
            self._unsent.remove(identifier)

    def next_unsent(self) -> Request | None:
        """Return the request to be sent next, None if there is none; see `was_sent`."""
        return self._entries[self._unsent[0]].request if self._unsent else None

    def was_sent(self, now: float) -> None:
        """Note that the request of `next_unsent` was sent at `now`, in seconds."""
        identifier = self._unsent.popleft()
        self._entries[identifier].sent_at = now
        self._sent[identifier] = None

    def take_reply(self, frame: bytes) -> Answer[W] | None:
        """Return the answer in a reply frame, None if its request is not in the table.

        The request stays in the table until `drop` or `postpone`. Raises `WireError`.
        """
        identifier = reply_id(frame)
        entry = self._entries.get(identifier)
        if entry is None or entry.sent_at is None:
            return None
        reply = unpack_reply(frame, type(entry.request))
        return Answer(identifier, entry.waiter, reply, entry.sent_at)

    def lose_before(self, identifier: int) -> list[W]:
        """The answer to `identifier` has come: those to requests sent before it never will.

        Queues the kept ones again, drops the others, and returns the waiters of the dropped ones.
        """
        lost: list[int] = []
        for each in self._sent:
            if each == identifier:
                return self._lose(lost)
            lost.append(each)
        return []

    def lose_all(self) -> list[W]:
        """The connection was lost, or leads to another relay: what was not answered will not be.

        As `lose_before`, and drops unsent requests that are not kept, too: their owners add them
        anew. What was refused is sent again at once.
        """
        for identifier, entry in tuple(self._entries.items()):
            if entry.sent_at is None and not entry.is_kept:
                self._sent[identifier] = None
                if entry.due_at is None:
                    self._unsent.remove(identifier)
            elif entry.due_at is not None:
                self._queue(identifier, entry)
        return self._lose(list(self._sent))

    def postpone(self, identifier: int, until: float) -> None:
        """Send a request that was refused once more, at `until` in seconds: see `queue_due`."""
        entry = self._entries[identifier]
        entry.sent_at, entry.due_at = None, until
        self._sent.pop(identifier, None)

    def queue_due(self, now: float) -> None:
        """Queue the requests whose time has come. `now` is in seconds."""
        for identifier, entry in self._entries.items():
            if entry.due_at is not None and now >= entry.due_at:
                self._queue(identifier, entry)

    def _lose(self, identifiers: list[int]) -> list[W]:
        kept: list[int] = []
        dropped: list[W] = []
        for identifier in identifiers:
            entry = self._entries[identifier]
            del self._sent[identifier]
            if entry.is_kept:
                entry.sent_at = None
                kept.append(identifier)
            else:
                dropped.append(self._entries.pop(identifier).waiter)
        # Before what was added later.
        self._unsent.extendleft(reversed(kept))
        return dropped

    def _queue(self, identifier: int, entry: _Entry[W]) -> None:
        entry.due_at = None
        self._unsent.append(identifier)
