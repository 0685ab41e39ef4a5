"""`SteadyClock`: Unix time that no jump of the machine's clock reaches at once.

The wall clock of a machine can be set by hand, by a time service, or by a dead battery. Stamps and
retention follow the monotonic clock instead, and a jump counts only after it has lasted.
"""

from enum import Enum, auto
from typing import NamedTuple

MAX_DRIFT_MS = 2_000
"""A larger difference between two looks is a jump; a smaller one is a clock that is slewed."""
TRUST_AFTER_MS = 3600 * 1000
"""A jump that has lasted for so long is right."""
MAX_PAUSE_MS = 3600 * 1000
"""If the newest event is older than this when a relay starts, the clock may be wrong."""


class ClockNews(Enum):
    """Something that people should know of the clock."""

    JUMPED = auto()
    """The machine's clock jumped; it is not followed yet."""
    TRUSTED = auto()
    """A jump has lasted, and is followed now."""


class _Jump(NamedTuple):
    """A jump that is not followed yet."""

    size_ms: int
    seen_at: int


class SteadyClock:
    """Follows the wall clock. All times are in milliseconds; monotonic ones never go back."""

    def __init__(self, wall: int, monotonic: int, newest: int | None) -> None:
        """`newest` is the wall time of the newest event that an earlier process has stamped."""
        self._offset = wall - monotonic
        """The wall time at the monotonic time 0."""
        self._jump: _Jump | None = None
        is_doubtful = newest is not None and wall - newest > MAX_PAUSE_MS
        self._may_judge_from = monotonic + TRUST_AFTER_MS if is_doubtful else monotonic

    @property
    def jump(self) -> int:
        """How far the machine's clock is ahead of this one, 0 unless it has jumped."""
        return self._jump.size_ms if self._jump else 0

    def look(self, wall: int, monotonic: int) -> ClockNews | None:
        """Look at both clocks."""
        difference = wall - monotonic - self._offset
        if abs(difference) <= MAX_DRIFT_MS:
            self._offset += difference
            self._jump = None
            return None
        if self._jump is None or abs(difference - self._jump.size_ms) > MAX_DRIFT_MS:
            self._jump = _Jump(difference, monotonic)
            return ClockNews.JUMPED
        if monotonic - self._jump.seen_at < TRUST_AFTER_MS:
            return None
        self._offset += difference
        self._jump = None
        return ClockNews.TRUSTED

    def now(self, monotonic: int) -> int:
        """Return Unix time in milliseconds."""
        return monotonic + self._offset

    def may_judge_age(self, monotonic: int) -> bool:
        """Whether this clock is sure enough to remove what is old by it."""
        return monotonic >= self._may_judge_from
