"""What an emitter holds until the relay can have it.

Journaled events wait in order and are bounded by count and bytes. Of a live topic only the newest
value is kept, and only until somebody watches. The caller provides the locking.
"""

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from emitters.errors import OutboxFull
from relay.wire.topics import EVENT, TASK, Topic

DEFAULT_JOURNALED_KINDS = frozenset({EVENT, TASK})
"""Until the relay has said which kinds it journals."""

MAX_LIVE_TOPICS = 10_000


class Outgoing(NamedTuple):
    """An event that is ready for the wire."""

    topic: Topic
    envelope: bytes


class Outbox:
    """Bounded by `max_events` and `max_bytes`, the sum of the envelopes it holds."""

    def __init__(self, max_events: int, max_bytes: int) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._journaled_kinds = DEFAULT_JOURNALED_KINDS
        self._journaled: deque[Outgoing] = deque()
        self._journaled_bytes = 0
        self._live: dict[str, Outgoing] = {}
        self._unwatched: dict[str, Outgoing] = {}
        self.conflated = 0
        """Live values that were replaced by a newer one, or given up for newer topics, unsent."""

    def __len__(self) -> int:
        return len(self._journaled)

    def is_journaled(self, topic: Topic) -> bool:
        """Whether events on `topic` are numbered and must all arrive."""
        return topic.kind in self._journaled_kinds

    def has_room_for(self, event: Outgoing) -> bool:
        """Whether `add` would take `event` now."""
        return not self.is_journaled(event.topic) or (
            len(self._journaled) < self._max_events
            and self._journaled_bytes + len(event.envelope) <= self._max_bytes
        )

    def add(self, event: Outgoing) -> None:
        """Take `event`, or raise `OutboxFull`."""
        if not self.has_room_for(event):
            raise OutboxFull(
                f"{len(self._journaled)} events ({self._journaled_bytes} bytes) wait for the relay;"
                f" the limits are {self._max_events} events and {self._max_bytes} bytes"
            )
        self._place(event)

    def set_journaled_kinds(self, kinds: frozenset[str]) -> None:
        """Follow what the relay says; what waits already is sorted anew, in order."""
        if kinds == self._journaled_kinds:
            return
        self._journaled_kinds = kinds
        waiting = [*self._journaled, *self._unwatched.values(), *self._live.values()]
        self._journaled.clear()
        self._journaled_bytes = 0
        self._unwatched.clear()
        self._live.clear()
        for event in waiting:
            self._place(event)

    def peek(self) -> Outgoing | None:
        """The journaled event that goes next."""
        return self._journaled[0] if self._journaled else None

    def pop(self) -> None:
        """Remove the event that `peek` returned."""
        self._journaled_bytes -= len(self._journaled.popleft().envelope)

    def take_live(self, is_watched: Callable[[str], bool]) -> list[Outgoing]:
        """Remove and return the newest values of watched live topics.

        Those that nobody watches are put aside, and looked at again after `interest_changed`.
        """
        taken = []
        for topic, event in self._live.items():
            if is_watched(topic):
                taken.append(event)
            else:
                self._unwatched[topic] = event
        self._live.clear()
        return taken

    def put_back_live(self, values: list[Outgoing]) -> None:
        """Undo `take_live` for `values`, except where a newer value has come since."""
        for event in values:
            topic = event.topic.text
            is_superseded = topic in self._live or topic in self._unwatched
            if is_superseded or len(self._live) + len(self._unwatched) >= MAX_LIVE_TOPICS:
                self.conflated += 1
            else:
                self._live[topic] = event

    @property
    def has_new_live_values(self) -> bool:
        """Whether there are live values that `take_live` has not looked at yet."""
        return bool(self._live)

    def interest_changed(self) -> None:
        """Somebody began or ceased to watch: `take_live` considers every value again."""
        self._live = self._unwatched | self._live
        self._unwatched = {}

    def _place(self, event: Outgoing) -> None:
        if self.is_journaled(event.topic):
            self._journaled.append(event)
            self._journaled_bytes += len(event.envelope)
            return
        topic = event.topic.text
        if self._live.pop(topic, None) or self._unwatched.pop(topic, None):
            self.conflated += 1
        elif len(self._live) + len(self._unwatched) >= MAX_LIVE_TOPICS:
            oldest = self._unwatched or self._live
            del oldest[next(iter(oldest))]
            self.conflated += 1
        self._live[topic] = event
