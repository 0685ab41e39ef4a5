"""Logging for every program: one line for each record, and no flood from one cause."""

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


class LimitedRecords(logging.Filter):
    """Lets one record of each line of code pass in an interval; its successor counts the omitted.

    For the loggers of libraries, whose lines strangers can cause.
    """

    def __init__(self, interval_s: float = INTERVAL_S) -> None:
        super().__init__()
        self._interval_s = interval_s
        self._omitted: dict[tuple[str, int], int] = {}
        self._next_at: dict[tuple[str, int], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to log `record`."""
        cause = record.pathname, record.lineno
        now = monotonic()
        if now < self._next_at.get(cause, 0.0):
            self._omitted[cause] = self._omitted.get(cause, 0) + 1
            return False
        self._next_at[cause] = now + self._interval_s
        if omitted := self._omitted.pop(cause, 0):
            record.msg = f"{record.msg} (and {omitted} more of this kind)"
        return True


class LimitedLog:
    """Logs at most one line for each cause and interval; the next one tells how many were omitted.

    Causes are never forgotten: use a few fixed names, not text from a peer.
    """

    def __init__(self, logger: logging.Logger, interval_s: float = INTERVAL_S) -> None:
        self._logger = logger
        self._interval_s = interval_s
        self._omitted: dict[str, int] = {}
        self._next_at: dict[str, float] = {}

    def warning(self, cause: str, message: str, *args: object) -> None:
        """Log `message % args` unless `cause` was logged within the interval."""
        self._log(logging.WARNING, cause, message, *args)

    def error(self, cause: str, message: str, *args: object) -> None:
        """Log `message % args` as `warning` does, at level ERROR."""
        self._log(logging.ERROR, cause, message, *args)

    def _log(self, level: int, cause: str, message: str, *args: object) -> None:
        now = monotonic()
        # Decided before the message is formatted: the flood itself must cost little.
        if now < self._next_at.get(cause, 0.0):
            self._omitted[cause] = self._omitted.get(cause, 0) + 1
            return
        self._next_at[cause] = now + self._interval_s
        if omitted := self._omitted.pop(cause, 0):
            message += f" (and {omitted} more of this kind)"
        self._logger.log(level, message, *args)
