"""`ChildCommand`: a child process whose output passes through and is followed."""

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from typing import IO

from emitters.core.last_line import LastLine

STDERR_TAIL_BYTES = 4096
OUTPUT_ENDS_WITHIN_S = 1.0
"""Counted from the end of the command: a process that it left running may hold its output open."""

logger = logging.getLogger(__name__)


class ChildCommand:
    """Runs `arguments` in a process group of its own, so that signals reach all of a pipeline.

    `on_line` gets each line of its output. Raises `OSError` when it cannot be started.
    """

    def __init__(self, arguments: Sequence[str], on_line: Callable[[str], None]) -> None:
        self._on_line = on_line
        self._stderr_tail = b""
        # A background process group may not read from a terminal.
        stdin = subprocess.DEVNULL if sys.stdin is None or sys.stdin.isatty() else None
        self._process = subprocess.Popen(
            arguments,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            process_group=0,
        )
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._readers = [
            threading.Thread(target=self._follow, args=pipes, daemon=True)
            for pipes in (
                (self._process.stdout, sys.stdout.buffer, False),
                (self._process.stderr, sys.stderr.buffer, True),
            )
        ]
        for reader in self._readers:
            reader.start()

    def wait(self) -> int:
        """Wait for the end and return the exit code; 128 plus the number if a signal ended it."""
        code = self._process.wait()
        for reader in self._readers:
            reader.join(OUTPUT_ENDS_WITHIN_S)
        return code if code >= 0 else 128 - code

    def pass_on(self, number: int) -> None:
        """Send signal `number` to the command and its children."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.Signals(number))

    @property
    def stderr_tail(self) -> str:
        """The last 4096 bytes of its standard error."""
        return self._stderr_tail.decode(errors="replace").strip()

    def _follow(self, source: IO[bytes], to: IO[bytes], is_stderr: bool) -> None:
        lines = LastLine()
        passing_on = True
        while piece := os.read(source.fileno(), 65536):
            if is_stderr:
                self._stderr_tail = (self._stderr_tail + piece)[-STDERR_TAIL_BYTES:]
            passing_on = passing_on and _write(to, piece)
            self._report(lines.feed(piece))
        self._report(lines.finish())

    def _report(self, line: str | None) -> None:
        if line is None:
            return
        try:
            self._on_line(line)
        except Exception:
            # The thread has to go on reading: a command with a full pipe stands still.
            logger.exception("a line of output could not be reported")


def _write(to: IO[bytes], piece: bytes) -> bool:
    """Write `piece`; return False if it cannot be written, which the command need not know."""
    try:
        to.write(piece)
        to.flush()
    except BrokenPipeError:
        return False
    except (OSError, ValueError) as error:
        logger.warning("the output of the command is not passed on any more: %s", error)
        return False
    return True
