"""`FrameTransport`: a transport under a `Client` whose frames another server sends."""

import asyncio
from collections import deque
from typing import Any

from edge.core.websocket.frames import Opcode, split_frames
from edge.websocket.client import Client, ClientServices


class FrameTransport(asyncio.Transport):
    """Takes frames apart and holds them until they are taken.

    It is full from the first write until every frame was taken, and the policy for slow clients is
    that of the `Client`.
    """

    def __init__(self, services: ClientServices) -> None:
        super().__init__()
        self._frames: deque[tuple[Opcode, int, bytes]] = deque()
        """Opcode, size in bytes and payload of frames that were not taken."""
        self._buffered_bytes = 0
        self._has_frames = asyncio.Event()
        self._is_closing = False
        self.client = Client(self, services, set())

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Hold the frames in `data`."""
        for opcode, size, payload in split_frames(bytes(data)):
            self._hold(opcode, size, payload)
        if self._frames:
            self._has_frames.set()
            self.client.pause_writing()

    def get_write_buffer_size(self) -> int:
        """Return the bytes that were not taken."""
        return self._buffered_bytes

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Keep no room, whatever is asked for: the server has a buffer of its own."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Know nothing: there is no socket to write to directly."""
        return default

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Belong to the `Client` that was made with this transport, and to no other."""

    def can_write_eof(self) -> bool:
        """Return False: ASGI knows no half-closed connections."""
        return False

    def is_closing(self) -> bool:
        """Return whether the connection has ended."""
        return self._is_closing

    def close(self) -> None:
        """End the connection. Messages that the server has taken are its own affair."""
        self.abort()

    def _hold(self, opcode: Opcode, size: int, payload: bytes) -> None:
        self._frames.append((opcode, size, payload))
        self._buffered_bytes += size
