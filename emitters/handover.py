"""`Handover`: the events on their way from emitting threads to the link thread, without a lock.

An exception of a signal handler can interrupt `emit` between any two steps of Python code. So
`emit` takes no lock, and its only effect is one step: `list.append` adds a node to the successors
of the last node, and the first of them is the next node of the queue. A node holds an event and the
sums up to it, so that with its place in the queue its number and the bounds are decided too. The
queue is a chain of nodes: one that was left behind still leads to the last one.

While the link thread sleeps, the bell is rung in the same call into C as that step. Python runs
signal handlers only between calls into C, so that an event cannot stay without its wake-up call.

The link thread alone calls `take`, `arm`, `disarm`, and sets `freed`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count, repeat
from operator import call
from typing import NamedTuple, NoReturn

from emitters.core.outgoing import Outgoing
from emitters.core.unsent_values import MAX_LIVE_BYTES, MAX_LIVE_TOPICS
from emitters.errors import EmitterClosed, OutboxFull
from emitters.waiters import Receipt


class Node(NamedTuple):
    """One step of the queue, and the sums over all steps up to it."""

    event: Outgoing | None
    """None in the last node of all."""
    receipt: Receipt | None
    """Answered when the event is in the spool."""
    end: str | None
    """In the last node of all: the reason why no event is taken any more."""
    events: int
    """Events of journaled kinds."""
    event_bytes: int
    live: int
    """Values of live topics."""
    live_bytes: int
    successors: "list[Node]"
    """The first of them is the next node. Threads that came later try again behind that one."""


def answer(nodes: Iterable[Node], error: BaseException | None = None) -> None:
    """Answer those who wait for the events of `nodes`, unless they were answered before."""
    for node in nodes:
        if node.receipt is not None:
            node.receipt.give(error)


class OutboxBounds(NamedTuple):
    """The most unacknowledged events."""

    max_events: int
    max_bytes: int


class Freed(NamedTuple):
    """How many of the events that were handed over take no room any more."""

    events: int
    event_bytes: int


class Handover:
    """Any thread puts events in; their order is the order of their numbers.

    The bounds are for the events of journaled kinds that were put in and not freed.
    Of live values, as many as an emitter holds may wait to be taken.
    """

    def __init__(self, bounds: OutboxBounds) -> None:
        self._max_events, self._max_bytes = bounds
        self._taken = Node(None, None, None, 0, 0, 0, 0, [])
        """The node that `take` returned last."""
        self._latest = self._taken
        """A node near the end of the queue."""
        self._bell: dict[None, Callable[[], object]] = {}
        """The call that wakes the link thread up, under the key None; empty while it is awake."""
        self._rings = map(_CALL, map(self._bell.pop, repeat(None), repeat(int)))
        """Each step takes the bell and rings it, without Python code; `int()` does nothing."""
        self.freed = Freed(0, 0)
        self._refused = count()
        """Counts in one call into C: no lock, no lost count, and no memory for each."""

    # Any thread.

    def last(self) -> Node:
        """Return the last node."""
        node = self._latest
        while node.successors:
            node = node.successors[0]
        self._latest = node
        return node

    def put(self, event: Outgoing, receipt: Receipt | None, *, is_journaled: bool) -> bool:
        """Hand `event` over; return whether there was room. Raises `EmitterClosed` after `end`."""
        size = len(event.envelope)
        while True:
            last = self._latest
            if last.successors:
                last = self.last()
            if last.end is not None:
                raise EmitterClosed(last.end)
            _, _, _, events, event_bytes, live, live_bytes, _ = last
            if is_journaled:
                events += 1
                event_bytes += size
                if not self._fits(events, event_bytes):
                    return False
            else:
                live += 1
                live_bytes += size
                if not self._fits_live(live, live_bytes):
                    return False
            sums = (events, event_bytes, live, live_bytes)
            # Half the time of `Node(...)`, for each event.
            if self._append(last, tuple.__new__(Node, (event, receipt, None, *sums, []))):
                return True

    def put_all(self, events: Sequence[tuple[Outgoing, Receipt | None, bool]]) -> bool:
        """Hand all of `events` over, or none; return whether there was room.

        Each with its receipt and whether it is journaled. Raises `EmitterClosed` after `end`.
        """
        while events:
            last = self.last()
            if last.end is not None:
                raise EmitterClosed(last.end)
            nodes = _chained(last, events)
            sums = nodes[-1]
            if not (
                self._fits(sums.events, sums.event_bytes)
                and self._fits_live(sums.live, sums.live_bytes)
            ):
                return False
            # Whoever finds the first node finds all of them: they count in the same step.
            if self._append(last, nodes[0]):
                break
        return True

    def has_room_for(self, event: Outgoing, *, is_journaled: bool) -> bool:
        """Whether `put` would take `event` now; also when it would raise."""
        last, size = self.last(), len(event.envelope)
        if last.end is not None:
            return True
        if is_journaled:
            return self._fits(last.events + 1, last.event_bytes + size)
        return self._fits_live(last.live + 1, last.live_bytes + size)

    def count_refused(self) -> None:
        """Count an event that is not taken, because there is no room."""
        next(self._refused)

    @property
    def refused(self) -> int:
        """Events that were not taken because there was no room."""
        # The only way to read it that Python 3.14 has left.
        return int(repr(self._refused).removeprefix("count(").removesuffix(")"))

    def refuse(self) -> NoReturn:
        """Count an event that is not taken, because there is no room, and raise `OutboxFull`."""
        self.count_refused()
        last, freed = self.last(), self.freed
        raise OutboxFull(
            f"{last.events - freed.events} events ({last.event_bytes - freed.event_bytes} bytes)"
            f" wait for the relay; the limits are {self._max_events} events and"
            f" {self._max_bytes} bytes"
        )

    def end(self, reason: str) -> None:
        """Take no event any more. Only the first reason counts."""
        last = self.last()
        while last.end is None:
            self._append(last, last._replace(event=None, receipt=None, end=reason, successors=[]))
            last = self.last()

    # The link thread.

    @property
    def has_new(self) -> bool:
        """Whether `take` would return a node."""
        return bool(self._taken.successors)

    @property
    def taken(self) -> Node:
        """The node that `take` returned last."""
        return self._taken

    def take(self) -> Iterator[Node]:
        """Yield the nodes that were not yielded yet, in their order."""
        while self._taken.successors:
            self._taken = self._taken.successors[0]
            yield self._taken
        # A thread that was interrupted before it could is not to keep what is behind it.
        self.last()

    def arm(self, ring: Callable[[], object]) -> None:
        """Have the next step call `ring`, once. It is to be a function that runs no Python code."""
        self._bell[None] = ring

    def disarm(self) -> None:
        """Undo `arm`."""
        self._bell.clear()

    def _fits(self, events: int, event_bytes: int) -> bool:
        freed_events, freed_bytes = self.freed
        return (
            events - freed_events <= self._max_events
            and event_bytes - freed_bytes <= self._max_bytes
        )

    def _fits_live(self, live: int, live_bytes: int) -> bool:
        taken = self._taken
        return (
            live - taken.live <= MAX_LIVE_TOPICS and live_bytes - taken.live_bytes <= MAX_LIVE_BYTES
        )

    def _append(self, last: Node, node: Node) -> bool:
        """Put `node` behind `last` and ring the bell; return False if another thread was faster."""
        successors = last.successors
        try:  # noqa: SIM105 - `suppress` would take as long again
            # One call into C appends the node, then rings, and ends behind this first pair.
            any(zip(map(successors.append, (node,)), self._rings))  # noqa: B905 - one is endless
        except OSError:
            pass  # The bell's socket is full, so that it rings already.
        self._latest = first = successors[0]
        return first is node


def _chained(last: Node, events: Sequence[tuple[Outgoing, Receipt | None, bool]]) -> list[Node]:
    """Return the nodes of `events`, each the successor of the one before; the first of `last`."""
    nodes: list[Node] = []
    for event, receipt, is_journaled in events:
        _, _, _, count, count_bytes, live, live_bytes, _ = nodes[-1] if nodes else last
        size = len(event.envelope)
        if is_journaled:
            count, count_bytes = count + 1, count_bytes + size
        else:
            live, live_bytes = live + 1, live_bytes + size
        node = Node(event, receipt, None, count, count_bytes, live, live_bytes, [])
        if nodes:
            nodes[-1].successors.append(node)
        nodes.append(node)
    return nodes


_CALL: Callable[[object], object] = call  # type: ignore[assignment]
