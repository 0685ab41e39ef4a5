"""`RelayClock`: the time of the relay's stamps and of retention, by the machine's two clocks."""

import logging
import threading
import time

from relay.core.clock import TRUST_AFTER_MS, ClockNews, SteadyClock

logger = logging.getLogger(__name__)


class RelayClock:
    """A `SteadyClock` that the loop and the journal's thread share."""

    def __init__(self, newest_ms: int | None) -> None:
        """`newest_ms` is the stamp of the journal's newest event, None if it has none."""
        wall, monotonic = _read()
        self.started_ms = wall
        """The time when this process started. No later stamp is older."""
        self._clock = SteadyClock(wall, monotonic, newest_ms)
        self._lock = threading.Lock()
        if not self._clock.may_judge_age(monotonic):
            logger.warning(
                "the newest event is %d s old by this machine's clock, which may be wrong:"
                " nothing is removed by age for %d s",
                (wall - (newest_ms or 0)) // 1000,
                TRUST_AFTER_MS // 1000,
            )

    def now_ms(self) -> int:
        """Return Unix time in milliseconds."""
        wall, monotonic = _read()
        with self._lock:
            news = self._clock.look(wall, monotonic)
            now = max(self.started_ms, self._clock.now(monotonic))
        match news:
            case ClockNews.JUMPED:
                logger.error(
                    "this machine's clock jumped by %d s: the relay goes on by its own,"
                    " and follows after %d s",
                    (wall - now) // 1000,
                    TRUST_AFTER_MS // 1000,
                )
            case ClockNews.TRUSTED:
                logger.warning("the relay follows this machine's clock again")
            case None:
                pass
        return now

    def may_judge_age(self) -> bool:
        """Whether the clock is sure enough to remove what is old by it."""
        _, monotonic = _read()
        with self._lock:
            return self._clock.may_judge_age(monotonic)


def _read() -> tuple[int, int]:
    """Return wall time and monotonic time in milliseconds."""
    return time.time_ns() // 1_000_000, time.monotonic_ns() // 1_000_000
