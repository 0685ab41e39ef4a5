"""`StreamFollower`: the place of the edge in one stream, and how it closes gaps (section 6).

Live events arrive in order, but the relay drops events for a slow edge, and a relay that was
restarted may have sent events to nobody. The offsets reveal a hole, the relay replays the missing
events, and the events that arrive meanwhile are held until the hole is closed.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from edge.core.stats import Dropped
from edge.core.streams.record import Record

MAX_HELD_RECORDS = 10_000
MAX_HELD_BYTES = 16 * 1024 * 1024
"""Beyond either limit an event is dropped and counted as out of order; it comes back by replay."""


class Replayed(NamedTuple):
    """The outcome of a replay."""

    records: Sequence[Record]
    """Records to be forwarded now, in this order."""
    gap: tuple[int, int] | None
    """First and last offset of the events before `records` that the relay no longer has."""


class StreamFollower:
    """Releases every offset exactly once and in order, or names the gap."""

    __slots__ = (
        "_dropped",
        "_held",
        "_held_bytes",
        "_is_asked",
        "_last_offset",
        "_stream",
        "next_offset",
    )

    def __init__(self, stream: str, position: int, dropped: Dropped) -> None:
        """Follow `stream` after the offset `position`; `dropped` counts records not released."""
        self.next_offset = position + 1
        self._stream = stream
        self._dropped = dropped
        self._last_offset = position
        """The newest offset that is known to exist."""
        self._held: list[Record] = []
        """A contiguous run of records after a hole."""
        self._held_bytes = 0
        self._is_asked = False
        """Whether a replay was requested that is neither taken nor lost."""

    @property
    def position(self) -> int:
        """The last offset that was released."""
        return self.next_offset - 1

    @property
    def held_count(self) -> int:
        """Number of records held until a hole is closed."""
        return len(self._held)

    @property
    def is_behind(self) -> bool:
        """Whether an event that exists has not arrived."""
        return self.next_offset < (self._held[0].offset if self._held else self._last_offset + 1)

    def take_live(self, record: Record) -> Sequence[Record]:
        """Take a record that has just arrived; return the records to be forwarded now."""
        if record.offset == self.next_offset and not self._held:
            self.next_offset += 1
            return (record,)
        return self._take_unexpected(record)

    def take_last_offset(self, last: int) -> None:
        """Take the newest offset that a heartbeat names.

        The relay sends a heartbeat in its place among the events, so an event up to `last` that has
        not arrived by now was lost on the way.
        """
        self._last_offset = max(self._last_offset, last)

    @property
    def is_asked(self) -> bool:
        """Whether a replay is under way: one at a time."""
        return self._is_asked

    def replay_request(self) -> int | None:
        """Return the offset after which to request a replay, None if no request is due."""
        if self._is_asked or not self.is_behind:
            return None
        self._is_asked = True
        return self.position

    def forget_request(self) -> None:
        """The request that was made will not be answered: it is due again."""
        self._is_asked = False

    def take_replay(self, records: Iterable[Record], first: int, last: int) -> Replayed:
        """Take a replay: `records` of a journal that holds the offsets `first` to `last`.

        If it does not bring the stream on, `is_asked` stays true: the same request is to be sent
        again, after a while.
        """
        before, has_moved = self.next_offset, False
        self._last_offset = max(self._last_offset, last)
        forward: list[Record] = []
        gap = self._skip_to(first)
        self._release(forward)
        for record in records:
            if record.offset == self.next_offset:
                forward.append(record)
                self.next_offset += 1
                self._release(forward)
            elif record.offset < self.next_offset:
                self._dropped.repeated[self._stream] += 1
                has_moved = True
            else:
                self._dropped.out_of_order[self._stream] += 1
        has_moved |= self.next_offset != before
        self._is_asked = self.is_behind and not has_moved
        return Replayed(forward, gap)

    def _take_unexpected(self, record: Record) -> Sequence[Record]:
        offset = record.offset
        if offset == self.next_offset:
            self.next_offset += 1
            forward = [record]
            self._release(forward)
            return forward
        held = self._held
        if offset < self.next_offset or (held and held[0].offset <= offset <= held[-1].offset):
            self._dropped.repeated[self._stream] += 1
            return ()
        self._last_offset = max(self._last_offset, offset)
        if self._may_hold(record):
            held.append(record)
            self._held_bytes += record.cost
        else:
            self._dropped.out_of_order[self._stream] += 1
        return ()

    def _may_hold(self, record: Record) -> bool:
        held = self._held
        if not held:
            return True
        # A second hole is not held open: one contiguous run is enough to close the first hole,
        # and the replay that follows brings the rest.
        return (
            record.offset == held[-1].offset + 1
            and len(held) < MAX_HELD_RECORDS
            and self._held_bytes + record.cost <= MAX_HELD_BYTES
        )

    def _skip_to(self, first: int) -> tuple[int, int] | None:
        """Continue at `first`, or at the held run if that is sooner; return the gap before it."""
        resume_at = min(first, self._held[0].offset if self._held else first)
        if resume_at <= self.next_offset:
            return None
        gap = (self.next_offset, resume_at - 1)
        self.next_offset = resume_at
        return gap

    def _release(self, forward: list[Record]) -> None:
        """Move the held run to `forward` if its first record is the next one."""
        if self._held and self._held[0].offset == self.next_offset:
            forward += self._held
            self.next_offset = self._held[-1].offset + 1
            self._held = []
            self._held_bytes = 0
