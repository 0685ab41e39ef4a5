"""The command line of a program: output that cannot be written, and Ctrl-C.

A user's terminal, pipes and signals must bring no traceback, whatever the command does.
`relay.shared.program` has the moments before and after.
"""

import errno
import json
import signal
import sys
import threading
from typing import Any, TextIO

import click

from relay.shared.logs import UNPRINTABLE
from relay.shared.program import discard

CANNOT_WRITE = (
    errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF,
)  # fmt: skip
BOM = b"\xef\xbb\xbf"
"""Some editors and shells write it at the begin of a text in UTF-8."""


class Program(click.Group):
    """A group of commands that reports a user's terminal, pipes and signals in a line at most."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command that the arguments name, and end the program."""
        take_interrupts()
        try:
            return super().main(*args, **kwargs)
        except OSError as error:
            if error.errno not in CANNOT_WRITE:
                raise
            discard("stdout")
            click.echo(f"{self.name}: cannot write the output: {error.strerror}", err=True)
            sys.exit(1)


def is_unicode(stream: TextIO) -> bool:
    """Return whether `stream` writes UTF-8."""
    encoding = (stream.encoding or "").lower().replace("-", "").replace("_", "")
    return encoding in ("utf8", "utf8sig", "cp65001")


def json_line(value: object, stream: TextIO, separators: tuple[str, str] | None = None) -> str:
    """Return `value` as one line of JSON that does nothing to a terminal but print itself."""
    # Another encoding than UTF-8 is not JSON's, so that only ASCII can be read anywhere.
    text = json.dumps(value, ensure_ascii=not is_unicode(stream), separators=separators)
    # JSON itself escapes no control characters beyond 0x1f, and no change of direction.
    return UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def take_interrupts() -> None:
    """Raise `KeyboardInterrupt` for the first Ctrl-C; let the second end the process at once.

    The first one makes the command end, and closing may take a moment. Leaves a handler alone that
    is not Python's own.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt_once)


def interrupt_once(_number: int, _frame: object) -> None:
    """Raise `KeyboardInterrupt`; a further SIGINT or SIGTERM ends the process at once.

    A signal handler.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    raise KeyboardInterrupt
