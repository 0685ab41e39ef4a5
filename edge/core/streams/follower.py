"""`StreamFollower`: the place of the edge in one stream, and how it closes holes (section 6).

Live events arrive in order, but a slow edge misses some and a restarted relay may have sent some
to nobody. The offsets show it, the relay replays what is missing, and what arrived meanwhile
waits for it.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from edge.core.stats import Dropped
from edge.core.streams.record import Record

MAX_HELD_RECORDS = 10_000
MAX_HELD_BYTES = 16 * 1024 * 1024
RETRY_S = 1.0
"""After which an unanswered request is made again."""


class Replayed(NamedTuple):
    """What a replay brings."""

    records: list[Record]
    """To be forwarded now, in this order."""
    gap: tuple[int, int] | None
    """The first and the last offset that the relay no longer has, before `records`."""


class StreamFollower:
    """Hands on every offset exactly once and in order, or names the gap."""

    def __init__(self, stream: str, position: int, dropped: Dropped) -> None:
        """Follow `stream` from behind `position`."""
        self.next_offset = position + 1
        self._stream = stream
        self._dropped = dropped
        self._tip = position
        """The newest offset that is known to exist."""
        self._held: list[Record] = []
        """A contiguous run behind a hole."""
        self._held_bytes = 0
        self._asked_at: float | None = None

    @property
    def position(self) -> int:
        """The last offset that was handed on."""
        return self.next_offset - 1

    @property
    def held_count(self) -> int:
        """How many records wait for a hole to be closed."""
        return len(self._held)

    @property
    def is_behind(self) -> bool:
        """Whether something that exists has not arrived."""
        return self.next_offset < (self._held[0].offset if self._held else self._tip + 1)

    def take_live(self, record: Record) -> Sequence[Record]:
        """Take what has just arrived; return what is to be forwarded now."""
        if record.offset == self.next_offset and not self._held:
            self.next_offset += 1
            return (record,)
        return self._take_unexpected(record)

    def behind(self, tip: int) -> bool:
        """The relay says that its newest event is `tip`; return whether a replay is needed.

        It says so in its place among the events, so that nothing up to `tip` is still to come.
        """
        self._tip = max(self._tip, tip)
        return self.is_behind

    def replay_request(self, now: float) -> int | None:
        """Return the offset after which to ask for a replay, None if there is no need to now.

        One request at a time; one that is not answered is made again. `now` is in seconds.
        """
        if not self.is_behind:
            return None
        if self._asked_at is not None and now - self._asked_at < RETRY_S:
            return None
        self._asked_at = now
        return self.position

    def forget_request(self) -> None:
        """The relay was restarted: it will not answer what it was asked."""
        self._asked_at = None

    def take_replay(self, records: Iterable[Record], low: int, tip: int) -> Replayed:
        """Take the answer to a request: `records`, what the journal holds from `low` to `tip`."""
        self._asked_at = None
        self._tip = max(self._tip, tip)
        forward: list[Record] = []
        gap = self._skip_to(low)
        self._release(forward)
        for record in records:
            if record.offset == self.next_offset:
                forward.append(record)
                self.next_offset += 1
                self._release(forward)
            elif record.offset < self.next_offset:
                self._dropped.repeated[self._stream] += 1
            else:
                self._dropped.out_of_order[self._stream] += 1
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
        self._tip = max(self._tip, offset)
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
        return (
            record.offset == held[-1].offset + 1
            and len(held) < MAX_HELD_RECORDS
            and self._held_bytes + record.cost <= MAX_HELD_BYTES
        )

    def _skip_to(self, low: int) -> tuple[int, int] | None:
        """Go on at `low` if what is before it is gone, or at what is held if that is sooner."""
        resume_at = min(low, self._held[0].offset if self._held else low)
        if resume_at <= self.next_offset:
            return None
        gap = (self.next_offset, resume_at - 1)
        self.next_offset = resume_at
        return gap

    def _release(self, forward: list[Record]) -> None:
        """Add the held run to `forward` if it is its turn."""
        if self._held and self._held[0].offset == self.next_offset:
            forward += self._held
            self.next_offset = self._held[-1].offset + 1
            self._held = []
            self._held_bytes = 0
