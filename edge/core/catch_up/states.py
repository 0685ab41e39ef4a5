"""The states of one connection's subscriptions, and the requests that wait in each.

| state | a request | left when |
|---|---|---|
| `Live` | is performed and answered at once | it asks for the past: `Gathering` |
| `Gathering` | is checked, and answered after the catch-up | one says no `more`: `CatchingUp` |
| `CatchingUp` | waits; an unsubscribe acts at once, its answer waits | the catch-up ends: `Live` |

A resume of tasks, which comes with the handshake, goes from `Live` to `CatchingUp`.
"""

from collections import deque
from dataclasses import dataclass, field
from enum import Enum, auto

from edge.core.catch_up.selection import PendingSubscription, Selection
from edge.core.protocol.requests import Request, Subscribe

ENTRY_BYTES = 1024
"""Memory that a waiting request takes beside its `since`, rounded up."""
OFFSET_BYTES = 128
"""Memory of one stream and its offset in `since`, beside the stream's name."""


class Marker(Enum):
    """An entry without content."""

    END_OF_MORE = auto()
    """The subscriptions gathered before it are to be caught up."""


Entry = Request | PendingSubscription | bytes | Marker
"""A request, a subscription that a catch-up brings to date, the frame of a reply, or a marker."""


class RequestQueue:
    """Entries in the order in which they take effect.

    `Session` closes the connection when too many or too large ones wait.
    """

    __slots__ = ("_entries", "size_bytes")

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque()
        self.size_bytes = 0
        """About what the entries take in memory."""

    def __len__(self) -> int:
        return len(self._entries)

    def append(self, entry: Entry) -> None:
        """Add the last entry."""
        self._entries.append(entry)
        self.size_bytes += _size(entry)

    def pop(self) -> Entry:
        """Remove and return the first entry."""
        entry = self._entries.popleft()
        self.size_bytes -= _size(entry)
        return entry


class Live:
    """Requests are performed at once."""


LIVE = Live()
"""One for all connections: nearly all of them are live, and the state has no content."""


@dataclass(slots=True, eq=False)
class Gathering:
    """The client resumes several subscriptions with `more`, to be served by one catch-up.

    Together they replay each stream once, in the order of its offsets. One after the other, older
    events of the second would come behind newer ones of the first.
    """

    pending: list[PendingSubscription] = field(default_factory=list)
    queue: RequestQueue = field(default_factory=RequestQueue)
    """Entries that are answered after the catch-up, the pending subscriptions included."""


@dataclass(slots=True, eq=False)
class CatchingUp:
    """A catch-up is under way."""

    selection: Selection
    queue: RequestQueue = field(default_factory=RequestQueue)
    """Entries that wait for the end of the catch-up."""


State = Live | Gathering | CatchingUp
TRANSITIONS = {
    (Live, Gathering),
    (Gathering, CatchingUp),
    (Live, CatchingUp),
    (CatchingUp, Live),
}


def _size(entry: Entry) -> int:
    match entry:
        case bytes():
            return len(entry)
        case Subscribe(since=since) | PendingSubscription(request=Subscribe(since=since)):
            # A client may send 64 KiB of invented streams; a character takes up to 4 bytes.
            return ENTRY_BYTES + sum(OFFSET_BYTES + 4 * len(stream) for stream in since or ())
        case _:
            return ENTRY_BYTES
