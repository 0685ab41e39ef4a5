"""`StopSignals`: tells open responses that another server than ours stops.

Servers wait for all responses before they tell the application of their end, and so for streams
that never end by themselves: hypercorn for some seconds, uvicorn and granian for ever. ASGI has no
word for it. Our own server tells each stream (`edge.websocket.http_connection`).
"""

import asyncio
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

NUMBERS = (signal.SIGTERM, signal.SIGINT)
_Handler = Callable[[int, FrameType | None], Any]


class StopSignals:
    """Calls `on_stop` on the event loop when the server is told to stop, before it does.

    The server's own handlers are called as before. Signals that nobody handles are left alone: they
    end the process.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, on_stop: Callable[[], None]) -> None:
        self._loop = loop
        self._on_stop = on_stop
        self._theirs: dict[int, _Handler] = {}
        """The handlers of the server, by the number of the signal."""

    def watch(self) -> None:
        """Begin, unless that is done. In other threads than the main one signals do not arrive."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in NUMBERS:
            handler = signal.getsignal(number)
            if callable(handler) and handler != self._handle:
                self._theirs[number] = handler
                signal.signal(number, self._handle)

    def close(self) -> None:
        """Give the signals back."""
        theirs, self._theirs = self._theirs, {}
        for number, handler in theirs.items():
            if signal.getsignal(number) == self._handle:
                signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._on_stop)
        handler = self._theirs.get(number)
        if handler is not None:
            handler(number, frame)
