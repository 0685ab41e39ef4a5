"""What an emitter holds until the relay has it.

Every event of a journaled kind is numbered as soon as it is taken, and held until the relay
acknowledges that number: first unsent, then in flight. Of a live topic only the newest value is
held (`emitters.core.live_values`). The caller provides the locking.
"""

from collections import deque
from collections.abc import Iterable
from itertools import islice
from typing import Protocol

from emitters.core.live_values import LiveValues
from emitters.core.outgoing import Outgoing
from emitters.errors import OutboxFull
from relay.wire.topics import EVENT, TASK, Topic

DEFAULT_JOURNALED_KINDS = frozenset({EVENT, TASK})
"""Until the relay has said which kinds it journals."""

WINDOW_EVENTS = 8192
WINDOW_BYTES = 16 * 1024 * 1024
"""At most so much is in flight, which bounds what has to be sent again."""

FORGET_BATCH = 256
"""So many acknowledged events leave the store together, or all when none is left."""


class Store(Protocol):
    """Where numbered events outlive the process: `emitters.spool`."""

    @property
    def sent(self) -> int:
        """Up to here an earlier process may have sent what is kept."""
        ...

    def append(self, sequence: int, event: Outgoing) -> None:
        """Keep `event` under its number, or raise `SpoolUnavailable`; then it is not kept."""
        ...

    def relay_was_met(self) -> None:
        """What is kept may be sent from now on. Raises `SpoolUnavailable`."""
        ...

    def forget(self, sequence: int) -> None:
        """Everything up to `sequence` is acknowledged. Never raises."""
        ...

    def rewrite(self, acknowledged: int, events: Iterable[Outgoing]) -> None:
        """Keep `events` alone, numbered from `acknowledged` + 1, or raise `SpoolUnavailable`."""
        ...


class Outbox:
    """Bounded by `max_events` and `max_bytes`, the sum of the envelopes it holds.

    Sequence numbers up to `acknowledged` are the relay's; those up to `last` were given out.
    """

    def __init__(
        self,
        max_events: int,
        max_bytes: int,
        *,
        journaled_kinds: Iterable[str] = DEFAULT_JOURNALED_KINDS,
        acknowledged: int = 0,
        kept: Iterable[Outgoing] = (),
        store: Store | None = None,
    ) -> None:
        """Begin with the events that the store has `kept`, which follow `acknowledged`."""
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._store = store
        self._journaled_kinds = frozenset(journaled_kinds)
        self._is_numbering = False
        self._unsent: deque[Outgoing] = deque(kept)
        self._in_flight: deque[Outgoing] = deque()
        self._bytes = sum(len(event.envelope) for event in self._unsent)
        self._in_flight_bytes = 0
        self.acknowledged = acknowledged
        self._forgotten = acknowledged
        self._highest_sent = self.last if store is None else store.sent
        self._highest_sent_before = self.last
        self._probing = False
        self.live = LiveValues()
        self.refused = 0
        """How often `add` raised `OutboxFull`."""
        self.renumberings = 0
        """How often unacknowledged events got other numbers."""

    def __len__(self) -> int:
        """How many events are unacknowledged."""
        return len(self._in_flight) + len(self._unsent)

    @property
    def last(self) -> int:
        """The number that was given out last."""
        return self.acknowledged + len(self._in_flight) + len(self._unsent)

    @property
    def in_flight(self) -> int:
        """How many events were sent and are unacknowledged."""
        return len(self._in_flight)

    @property
    def has_work(self) -> bool:
        """Whether `take_unsent` would return something, or a live value waits to be looked at."""
        return self.live.has_new or (bool(self._unsent) and self.window_is_open)

    @property
    def window_is_open(self) -> bool:
        """Whether an event more may be in flight."""
        if self._probing:
            return not self._in_flight
        return len(self._in_flight) < WINDOW_EVENTS and self._in_flight_bytes < WINDOW_BYTES

    def counters(self) -> dict[str, int]:
        """The emitter's account, by the names of protocol section 9."""
        return {
            "accepted": self.last,
            "acknowledged": self.acknowledged,
            "outbox_full": self.refused,
            "live": self.live.taken,
            "live_sent": self.live.sent,
            "conflated": self.live.conflated,
        }

    def is_journaled(self, topic: Topic) -> bool:
        """Whether events on `topic` are numbered and must all arrive."""
        return topic.kind in self._journaled_kinds

    def has_room_for(self, event: Outgoing) -> bool:
        """Whether `add` would take `event` now."""
        return event.topic.kind not in self._journaled_kinds or (
            len(self) < self._max_events and self._bytes + len(event.envelope) <= self._max_bytes
        )

    def add(self, event: Outgoing) -> None:
        """Take `event`, or raise `OutboxFull` or what the store raises.

        An exception from outside, such as `KeyboardInterrupt`, leaves it taken or not.
        """
        if event.topic.kind not in self._journaled_kinds:
            self.live.put(event)
            return
        if not self.has_room_for(event):
            self.refused += 1
            raise OutboxFull(
                f"{len(self)} events ({self._bytes} bytes) wait for the relay;"
                f" the limits are {self._max_events} events and {self._max_bytes} bytes"
            )
        self._number(event)

    def take_unsent(self, max_events: int) -> tuple[int, list[Outgoing]]:
        """Move up to `max_events` events in flight, as far as the window allows.

        Returns the sequence number of the first and the events.
        """
        first = self.acknowledged + len(self._in_flight) + 1
        taken: list[Outgoing] = []
        window = 1 if self._probing else WINDOW_EVENTS
        most = min(max_events, window - len(self._in_flight), len(self._unsent))
        while len(taken) < most and self._in_flight_bytes < WINDOW_BYTES:
            event = self._unsent.popleft()
            self._in_flight_bytes += len(event.envelope)
            taken.append(event)
        self._in_flight.extend(taken)
        self._highest_sent_before = self._highest_sent
        self._highest_sent = max(self._highest_sent, first - 1 + len(taken))
        return first, taken

    def put_back(self, count: int) -> None:
        """Undo `take_unsent` for the last `count` events, which could not be sent after all."""
        for _ in range(count):
            self._unsend_last()
        sent = self.acknowledged + len(self._in_flight)
        self._highest_sent = max(self._highest_sent_before, sent)

    def acknowledge(self, sequence: int) -> bool:
        """The relay has everything up to `sequence`. Returns False for what was never sent."""
        if sequence > self._highest_sent:
            return False
        for _ in range(sequence - self.acknowledged):
            if self._in_flight:
                event = self._in_flight.popleft()
                self._in_flight_bytes -= len(event.envelope)
            else:
                event = self._unsent.popleft()
            self._bytes -= len(event.envelope)
        if sequence > self.acknowledged:
            self.acknowledged = sequence
            self._probing = False
            if not len(self):
                self._bytes = 0
            self._forget()
        return True

    def relay_was_met(self) -> None:
        """Relay and outbox agree on what the relay has. Raises what the store raises."""
        if self._store is not None:
            self._store.relay_was_met()

    def rewind(self, sequence: int, *, probing: bool = False) -> bool:
        """The relay has everything up to `sequence` and nothing after it: send that again.

        With `probing`, one event at a time until something is acknowledged. Returns False for
        what was never sent; then nothing changes.
        """
        if not self.acknowledge(sequence):
            return False
        self._unsend()
        self._probing = probing
        return True

    def skip_to(self, sequence: int) -> int:
        """The relay has everything up to `sequence`, which is more than was ever sent from here.

        So the end of the store was lost, and with it the numbers that it had given out. What it
        had kept was sent before; what was taken since is numbered anew, after `sequence`. Returns
        how many events those are. Raises what the store raises; then nothing changes.
        """
        self._unsend()
        kept = self._highest_sent - self.acknowledged
        self._rewrite(sequence, list(islice(self._unsent, kept, None)))
        self._highest_sent = sequence
        return len(self)

    def set_journaled_kinds(self, kinds: frozenset[str]) -> None:
        """Follow what the relay says. Nothing may be in flight, and nothing sent be on its way.

        Live values of a kind that is journaled are numbered now. Events of one that is not become
        live values, as the relay's subscriptions would keep them from being sent as anything else.
        Raises what the store raises; what was not sorted then is when this is called again.
        """
        self._journaled_kinds = kinds
        for event in self.live.of_kinds(kinds):
            self._number(event)
            self.live.hand_over(event)
        remaining = [event for event in self._unsent if event.topic.kind in kinds]
        if len(remaining) == len(self._unsent):
            return
        demoted = [event for event in self._unsent if event.topic.kind not in kinds]
        self._rewrite(self.acknowledged, remaining)
        self._highest_sent = self.acknowledged
        for event in demoted:
            self.live.put(event)

    def _number(self, event: Outgoing) -> None:
        if self._is_numbering:
            raise RuntimeError("emit was called by a signal handler in the midst of another emit")
        try:
            self._is_numbering = True
            if self._store is not None:
                self._store.append(self.last + 1, event)
            self._bytes += len(event.envelope)
            # Last, and in one step: an exception from outside leaves it taken or not.
            self._unsent.append(event)
        finally:
            self._is_numbering = False

    def _unsend(self) -> None:
        self._unsent.extendleft(reversed(self._in_flight))
        self._in_flight.clear()
        self._in_flight_bytes = 0

    def _unsend_last(self) -> None:
        event = self._in_flight.pop()
        self._in_flight_bytes -= len(event.envelope)
        self._unsent.appendleft(event)

    def _rewrite(self, acknowledged: int, events: list[Outgoing]) -> None:
        if self._store is not None:
            self._store.rewrite(acknowledged, events)
        self._unsent = deque(events)
        self._bytes = sum(len(event.envelope) for event in events)
        self.acknowledged = self._forgotten = acknowledged
        self.renumberings += 1

    def _forget(self) -> None:
        acknowledged = self.acknowledged
        if self._store is not None and (
            acknowledged == self.last or acknowledged - self._forgotten >= FORGET_BATCH
        ):
            self._store.forget(acknowledged)
            self._forgotten = acknowledged
