"""Logging for every program: one line for each record, and no flood from one cause.

Names, topics and texts of errors come from outside. Nothing in them may look like a line of ours,
reach a terminal as a command, or fill the log: `one_line` escapes and shortens them.
"""

import logging
import re
from time import monotonic
from typing import Any

INTERVAL_S = 10.0
MAX_LINE_CHARS = 1_000
"""Characters of a message; of a longer one, the beginning and the end."""
MAX_TRACEBACK_CHARS = 16_000
_END_CHARS = 100

_UNPRINTABLE = "\\x00-\\x1f\\x7f-\\x9f\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069\\ud800-\\udfff"
"""Control characters, ends of lines, changes of the direction of writing, and halves of pairs."""
UNPRINTABLE = re.compile(f"[{_UNPRINTABLE}]")
_IN_TRACEBACK = re.compile(f"(?!\\n)[{_UNPRINTABLE}]")


def one_line(text: str, max_chars: int = MAX_LINE_CHARS) -> str:
    """Return `text` with control characters escaped, and shortened to about `max_chars`."""
    return UNPRINTABLE.sub(_escaped, _shortened(text, max_chars))


class SafeFormatter(logging.Formatter):
    """Writes a record as one line, and its traceback as indented lines below."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """See `logging`."""
        record.message = one_line(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802
        """See `logging`."""
        return _indented(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802
        """See `logging`."""
        return _indented(super().formatStack(stack_info))


def _indented(traceback: str) -> str:
    # The text of an exception may have lines that would look like records.
    safe = _IN_TRACEBACK.sub(_escaped, _shortened(traceback, MAX_TRACEBACK_CHARS))
    return "    " + safe.replace("\n", "\n    ")


def _shortened(text: str, max_chars: int) -> str:
    if len(text) <= max_chars:
        return text
    end = min(_END_CHARS, max_chars // 2)
    left_out = len(text) - max_chars
    return f"{text[: max_chars - end]}… {left_out} characters …{text[-end:]}"


def _escaped(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()


def configure(program: str, level: str = "INFO") -> None:
    """Log to standard error as `time level program message`."""
    form = f"%(asctime)s %(levelname)-7s {program} %(message)s"
    handler = logging.StreamHandler()
    handler.setFormatter(SafeFormatter(form, "%H:%M:%S"))
    logging.basicConfig(level=level, handlers=[handler], force=True)


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

    def exception(self, cause: str, message: str, *args: object) -> None:
        """Log as `error` does, with the exception that is being handled."""
        self._log(logging.ERROR, cause, message, *args, with_exception=True)

    def _log(
        self, level: int, cause: str, message: str, *args: object, with_exception: bool = False
    ) -> None:
        now = monotonic()
        # Decided before the message is formatted: the flood itself must cost little.
        if now < self._next_at.get(cause, 0.0):
            self._omitted[cause] = self._omitted.get(cause, 0) + 1
            return
        self._next_at[cause] = now + self._interval_s
        more = ""
        if omitted := self._omitted.pop(cause, 0):
            more = f" (and {omitted} more of this kind)"
        # Escaped here too: emitters write to the log of an application, in its form.
        text = one_line(message % args if args else message)
        self._logger.log(level, "%s%s", text, more, exc_info=with_exception)
