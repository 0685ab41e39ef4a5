"""`EndOfTurnWrites`: one write for each connection and turn, whatever the number of its frames."""

import asyncio
import logging
from collections.abc import Callable

from relay.shared.logs import LimitedLog

logger = logging.getLogger(__name__)


class EndOfTurnWrites:
    """Calls writers once, at the end of the turn of the event loop in which they were added."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._log = LimitedLog(logger)
        self._writers: list[Callable[[], None]] = []

    def add(self, write: Callable[[], None]) -> None:
        """Have `write` called once, after everything that is already due in this turn."""
        if not self._writers:
            self._loop.call_soon(self._write_all)
        self._writers.append(write)

    def _write_all(self) -> None:
        # Writers that are added meanwhile belong to the next turn.
        writers, self._writers = self._writers, []
        for each in writers:
            try:
                each()
            except Exception:  # noqa: BLE001 - logged
                # A fault with one connection must not stop the writes to the others.
                self._log.exception("write", "frames could not be written")
