"""Logging as every program of ours does it: one line a record, and no flood from one cause."""

import logging
from time import monotonic

INTERVAL_S = 10.0


def configure(program: str, level: str = "INFO") -> None:
    """Log to standard error as `time level program message`."""
    logging.basicConfig(
        level=level,
        format=f"%(asctime)s %(levelname)-7s {program} %(message)s",
        datefmt="%H:%M:%S",
        force=True,
    )


class LimitedLog:
    """Logs at most one line per cause and interval; the next one says how many were left out."""

    def __init__(self, logger: logging.Logger, interval_s: float = INTERVAL_S) -> None:
        self._logger = logger
        self._interval_s = interval_s
        self._left_out: dict[str, int] = {}
        self._next_at: dict[str, float] = {}

    def warning(self, cause: str, message: str, *args: object) -> None:
        """Log `message % args` unless `cause` (one of a few fixed names) was logged lately."""
        self._log(logging.WARNING, cause, message, *args)

    def error(self, cause: str, message: str, *args: object) -> None:
        """See `warning`."""
        self._log(logging.ERROR, cause, message, *args)

    def _log(self, level: int, cause: str, message: str, *args: object) -> None:
        now = monotonic()
        if now < self._next_at.get(cause, 0.0):
            self._left_out[cause] = self._left_out.get(cause, 0) + 1
            return
        self._next_at[cause] = now + self._interval_s
        if left_out := self._left_out.pop(cause, 0):
            message += f" (and {left_out} more of this kind)"
        self._logger.log(level, message, *args)
