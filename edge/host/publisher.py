"""`Publisher`: emits events for the application, with one emitter of this process."""

import asyncio
import time
from functools import partial
from typing import Any

from edge.config import EdgeSettings
from edge.core.protocol.requests import Publish
from emitters import Emitter, OutboxFull
from emitters.config import EmitterSettings
from relay.shared.settings import load

CLOSE_TIMEOUT_S = 5.0
ROOM_TIMEOUT_S = 5.0
"""Seconds for the relay to take earlier events; then the caller learns that there are too many."""
ROOM_LOOK_S = 0.05


class Publisher:
    """Makes the emitter when it is used first."""

    def __init__(self, settings: EdgeSettings) -> None:
        """Raises `SettingsError`: a wrong `EMITTER_*` setting is told before the first event."""
        load(EmitterSettings)
        self._control = settings.relay_control
        self._emitter: Emitter | None = None

    @property
    def emitter(self) -> Emitter:
        """The emitter of this process."""
        if self._emitter is None:
            self._emitter = Emitter(control=self._control)
        return self._emitter

    async def emit(
        self, topic: str, data: Any, *, type: str | None = None, username: str | None = None
    ) -> str:
        """Emit; see `Emitter.emit`. Wait up to `ROOM_TIMEOUT_S` if there is no room."""
        give_up_at = time.monotonic() + ROOM_TIMEOUT_S
        while True:
            try:
                return self.emitter.emit(topic, data, type=type, username=username)
            except OutboxFull:
                if time.monotonic() >= give_up_at:
                    raise
            await asyncio.sleep(ROOM_LOOK_S)

    async def take(self, request: Publish) -> str:
        """Emit what a client has published."""
        return await self.emit(
            request.topic.shown, request.data, type=request.type, username=request.username
        )

    async def close(self) -> None:
        """Wait for acknowledgements, and end the emitter."""
        emitter, self._emitter = self._emitter, None
        if emitter is not None:
            await asyncio.to_thread(partial(emitter.close, CLOSE_TIMEOUT_S))
