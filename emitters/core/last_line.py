"""The last line of a program's output so far."""

import codecs
import re

MAX_LINE_CHARS = 500

_END_OF_LINE = re.compile(r"[\r\n]+")
_TERMINAL_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|.)")


class LastLine:
    """Follows output in pieces of any size.

    Carriage returns end lines too, as progress bars use them; terminal sequences are removed.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._unfinished = ""

    def feed(self, piece: bytes) -> str | None:
        """Return the last line that `piece` completed and that is not blank, or None."""
        *complete, rest = _END_OF_LINE.split(self._unfinished + self._decoder.decode(piece))
        self._unfinished = rest[-4 * MAX_LINE_CHARS :]
        return _last_not_blank(complete)

    def finish(self) -> str | None:
        """Return the text after the last end of line, None if it is blank."""
        return _last_not_blank([self._unfinished])


def _last_not_blank(lines: list[str]) -> str | None:
    for line in reversed(lines):
        plain = _TERMINAL_SEQUENCE.sub("", line[: 4 * MAX_LINE_CHARS])
        shown = "".join(char for char in plain if char.isprintable() or char == "\t").strip()
        if shown:
            return shown if len(shown) <= MAX_LINE_CHARS else f"{shown[:MAX_LINE_CHARS]}…"
    return None
