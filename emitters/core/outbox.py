"""The events that an emitter holds until the relay has them.

Every event of a journaled kind is numbered as soon as it is taken, and held until the relay
acknowledges that number: first unsent, then in flight. Of a live topic only the newest value is
held (`emitters.core.unsent_values`).
"""

from collections import deque
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Protocol

from emitters.core.outgoing import Outgoing
from emitters.core.unsent_values import UnsentValues
from relay.wire.topics import (
    EDGE_STATE,
    EVENT,
    INTERNAL_STREAMS,
    RESOURCE_MONITOR,
    TASK,
    Topic,
)

DEFAULT_JOURNALED_KINDS = frozenset({EVENT, TASK, *INTERNAL_STREAMS})
"""Counts until the relay has named the kinds that it journals."""

KNOWN_LIVE_KINDS = frozenset({RESOURCE_MONITOR, EDGE_STATE})

WINDOW_EVENTS = 8192
WINDOW_BYTES = 16 * 1024 * 1024
"""The most that is in flight, and so the most that has to be sent again after a loss."""

FORGET_BATCH = 256
"""Acknowledged events leave the store in batches of this size, or when it becomes empty."""


class Store(Protocol):
    """Keeps numbered events when the process ends; `emitters.spool` implements it."""

    @property
    def sent(self) -> int:
        """The last sequence number that an earlier process may have sent."""
        ...

    @property
    def epoch(self) -> int:
        """The epoch of its numbers, 0 until a relay has handed it out."""
        ...

    def keep_epoch(self, epoch: int) -> None:
        """Note the epoch that a relay has handed out, or raise `SpoolUnavailable`."""
        ...

    @property
    def relay_epoch(self) -> int | None:
        """The relay's epoch when it was met last, None if that is not known."""
        ...

    def keep_relay_epoch(self, epoch: int) -> None:
        """Note the relay's epoch. Never raises."""
        ...

    def append(self, first: int, events: Sequence[Outgoing]) -> None:
        """Keep `events`, numbered from `first`, or raise `SpoolUnavailable`; then none is kept."""
        ...

    def relay_was_met(self) -> None:
        """Note that events may be sent from now on. Raises `SpoolUnavailable`."""
        ...

    def forget(self, sequence: int) -> None:
        """Drop the events up to `sequence`, which are acknowledged. Never raises."""
        ...

    def rewrite(self, acknowledged: int, events: Iterable[Outgoing]) -> None:
        """Keep `events` alone, numbered from `acknowledged` + 1, or raise `SpoolUnavailable`."""
        ...

    def close(self) -> None:
        """Let another process open the store. A second call does nothing."""
        ...


class Outbox:
    """The relay has the sequence numbers up to `acknowledged`; those up to `last` are given out.

    `emitters.handover` bounds the number and the bytes of the events that come here. One thread
    uses an outbox.
    """

    def __init__(
        self,
        *,
        journaled_kinds: Iterable[str] | None = DEFAULT_JOURNALED_KINDS,
        acknowledged: int = 0,
        kept: Iterable[Outgoing] = (),
        store: Store | None = None,
    ) -> None:
        """Begin with the events `kept` by the store, which follow `acknowledged`.

        With `journaled_kinds` None, the relay alone knows which kinds are streams. Until it has
        said so, every kind may be one, and no event is replaced by a newer one.
        """
        self._store = store
        self._journaled_kinds = None if journaled_kinds is None else frozenset(journaled_kinds)
        self.epoch = 0 if store is None else store.epoch
        """The epoch of the numbers, 0 until a relay has handed it out."""
        self._unsent: deque[Outgoing] = deque(kept)
        self._in_flight: deque[Outgoing] = deque()
        self.bytes = sum(len(event.envelope) for event in self._unsent)
        """The sum of the envelopes of unacknowledged events."""
        self._in_flight_bytes = 0
        self.acknowledged = acknowledged
        self._forgotten = acknowledged
        self._highest_sent = self.last if store is None else store.sent
        self._highest_sent_before = self.last
        self.inherited = 0 if store is None else self.last
        """The last number of an event that an earlier process has left in the store."""
        self.window_events = WINDOW_EVENTS
        """The most events in flight; the dialogue narrows it while it probes."""
        self.live = UnsentValues()
        self.refused = 0
        """Events that were refused before they came here; set by the owner."""

    def __len__(self) -> int:
        """The number of unacknowledged events."""
        return len(self._in_flight) + len(self._unsent)

    @property
    def last(self) -> int:
        """The number that was given out last."""
        return self.acknowledged + len(self._in_flight) + len(self._unsent)

    @property
    def in_flight(self) -> int:
        """The number of events that were sent and are unacknowledged."""
        return len(self._in_flight)

    @property
    def has_work(self) -> bool:
        """Whether `take_unsent` would return an event, or live values have to be looked at."""
        return self.live.has_unexamined or (bool(self._unsent) and self._fits_window())

    @property
    def relay_epoch(self) -> int | None:
        """The relay's epoch when an earlier process with this store met it last."""
        return None if self._store is None else self._store.relay_epoch

    def keep_relay_epoch(self, epoch: int) -> None:
        """Have a later process know the relay's epoch."""
        if self._store is not None and self._store.relay_epoch != epoch:
            self._store.keep_relay_epoch(epoch)

    @property
    def has_store(self) -> bool:
        """Whether events outlive the process."""
        return self._store is not None

    @property
    def has_room_to_send(self) -> bool:
        """Whether another event could be in flight as well."""
        return not self._unsent or self._fits_window()

    def counters(self) -> dict[str, int]:
        """Return the emitter's counters, by the names of protocol section 9."""
        return {
            "accepted": self.last,
            "acknowledged": self.acknowledged,
            "outbox_full": self.refused,
            "live": self.live.put_count,
            "live_sent": self.live.sent,
            "conflated": self.live.conflated,
        }

    def is_journaled(self, topic: Topic) -> bool:
        """Whether events on `topic` are numbered and must all arrive."""
        return _is_stream(topic.kind, self._journaled_kinds)

    def add(self, events: Sequence[Outgoing]) -> None:
        """Number the events of journaled kinds and keep the live values.

        Raises `SpoolUnavailable`; then nothing is taken.
        """
        kinds = self._journaled_kinds
        numbered = [event for event in events if _is_stream(event.topic.kind, kinds)]
        # Committed before they count: `emit` may only return for an event that outlives the
        # process.
        if self._store is not None and numbered:
            self._store.append(self.last + 1, numbered)
        self.bytes += sum(len(event.envelope) for event in numbered)
        self._unsent.extend(numbered)
        if len(numbered) != len(events):
            for event in events:
                if not _is_stream(event.topic.kind, kinds):
                    self.live.put(event)

    def take_unsent(self, max_events: int) -> tuple[int, list[Outgoing]]:
        """Move up to `max_events` events in flight, as far as the window allows.

        Returns the sequence number of the first and the events.
        """
        first = self.acknowledged + len(self._in_flight) + 1
        taken: list[Outgoing] = []
        most = min(max_events, self.window_events - len(self._in_flight), len(self._unsent))
        room_bytes = WINDOW_BYTES - self._in_flight_bytes
        while len(taken) < most:
            room_bytes -= len(self._unsent[0].envelope)
            if room_bytes < 0:
                break
            taken.append(self._unsent.popleft())
        self._in_flight.extend(taken)
        self._in_flight_bytes += sum(len(event.envelope) for event in taken)
        # An acknowledgement up to here is credible, also after a rewind.
        self._highest_sent_before = self._highest_sent
        self._highest_sent = max(self._highest_sent, first - 1 + len(taken))
        return first, taken

    def put_back(self, count: int) -> None:
        """Undo `take_unsent` for the last `count` events, which the socket did not take."""
        for _ in range(count):
            event = self._in_flight.pop()
            self._in_flight_bytes -= len(event.envelope)
            self._unsent.appendleft(event)
        sent = self.acknowledged + len(self._in_flight)
        self._highest_sent = max(self._highest_sent_before, sent)

    def acknowledge(self, sequence: int) -> bool:
        """Drop the events up to `sequence`, which the relay has.

        Returns False for a number that was never sent; then nothing changes.
        """
        if sequence > self._highest_sent:
            return False
        for _ in range(sequence - self.acknowledged):
            if self._in_flight:
                event = self._in_flight.popleft()
                self._in_flight_bytes -= len(event.envelope)
            else:
                # Sent before a rewind or by an earlier process, and about to be sent again.
                event = self._unsent.popleft()
            self.bytes -= len(event.envelope)
        self.acknowledged = max(self.acknowledged, sequence)
        # A transaction for each acknowledgement would cost more than the append did.
        self._forget(1 if self.acknowledged == self.last else FORGET_BATCH)
        return True

    def keep_epoch(self, epoch: int) -> None:
        """Number the events under `epoch` from now on. Raises `SpoolUnavailable`."""
        if self._store is not None:
            self._store.keep_epoch(epoch)
        self.epoch = epoch

    def relay_was_met(self) -> None:
        """Note that the outbox is in line with the relay. Raises `SpoolUnavailable`."""
        if self._store is not None:
            self._store.relay_was_met()

    def rewind(self, sequence: int) -> bool:
        """Have everything after `sequence` sent again: the relay has the events up to it alone.

        Of a number below `acknowledged`, what follows `acknowledged`: nothing more is left. Returns
        False for a number that was never sent; then nothing changes.
        """
        if not self.acknowledge(sequence):
            return False
        self._unsend()
        return True

    def skip_to(self, sequence: int) -> int:
        """Go on after `sequence`, a number in the journal that this outbox never sent.

        The end of the store was lost, and with it the numbers that it had given out. Events that
        the store had kept were sent before; newer ones are numbered anew, after `sequence`.
        Returns how many events were numbered anew. Raises `SpoolUnavailable`; then nothing changes.
        """
        self._unsend()
        kept = self._highest_sent - self.acknowledged
        remaining = list(islice(self._unsent, kept, None))
        inherited = self._count_inherited(remaining)
        self._rewrite(sequence, remaining)
        self._highest_sent = sequence
        # Events that the journal has up to `sequence` are of earlier processes as well.
        self.inherited = 0 if self._store is None else sequence + inherited
        return len(self)

    def set_journaled_kinds(self, kinds: frozenset[str]) -> None:
        """Sort the events by the kinds that the relay journals. Nothing may be in flight.

        Live values of a kind in `kinds` are numbered now, beyond the bounds if need be. Events of
        any other kind become live values: the relay does not subscribe to them as a stream. Raises
        `SpoolUnavailable`; the next call sorts the rest.
        """
        self._journaled_kinds = kinds
        self.live.forget_sent(kinds)
        for event in self.live.of_kinds(kinds):
            # In this order, so that an event that the spool refuses stays where it is.
            self.add([event])
            self.live.withdraw(event)
        remaining = [event for event in self._unsent if event.topic.kind in kinds]
        if len(remaining) == len(self._unsent):
            return
        demoted = [event for event in self._unsent if event.topic.kind not in kinds]
        inherited = self._count_inherited(remaining)
        self._rewrite(self.acknowledged, remaining)
        self._highest_sent = self.acknowledged
        self.inherited = min(self.inherited, self.acknowledged + inherited)
        for event in demoted:
            self.live.put(event)

    def close(self) -> None:
        """Close the store, which then knows everything that is acknowledged."""
        if self._store is not None:
            self._forget(1)
            self._store.close()

    def _fits_window(self) -> bool:
        """Whether the next unsent event may be in flight as well."""
        return len(self._in_flight) < self.window_events and (
            self._in_flight_bytes + len(self._unsent[0].envelope) <= WINDOW_BYTES
        )

    def _count_inherited(self, events: Iterable[Outgoing]) -> int:
        """Return how many of `events`, which are unsent, an earlier process has left."""
        left = max(0, self.inherited - self.acknowledged)
        inherited = {id(event) for event in islice(self._unsent, left)}
        return sum(id(event) in inherited for event in events)

    def _unsend(self) -> None:
        self._unsent.extendleft(reversed(self._in_flight))
        self._in_flight.clear()
        self._in_flight_bytes = 0

    def _rewrite(self, acknowledged: int, events: list[Outgoing]) -> None:
        # First, because it may raise: then nothing has changed here either.
        if self._store is not None:
            self._store.rewrite(acknowledged, events)
        self._unsent = deque(events)
        self.bytes = sum(len(event.envelope) for event in events)
        self.acknowledged = self._forgotten = acknowledged

    def _forget(self, least: int) -> None:
        """Have the store drop acknowledged events, if there are at least so many."""
        if self._store is not None and self.acknowledged - self._forgotten >= least:
            self._store.forget(self.acknowledged)
            self._forgotten = self.acknowledged


def _is_stream(kind: str, journaled_kinds: frozenset[str] | None) -> bool:
    if journaled_kinds is None:
        return kind not in KNOWN_LIVE_KINDS
    return kind in journaled_kinds
