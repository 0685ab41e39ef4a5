"""`SseStream`: a client of `GET /api/events`, as Server-Sent Events (docs/http.md, "Watch").

To the rest of the edge it is a `Client` like every WebSocket, with the same frames, bounds and
policy. This transport turns its frames into events, and a close frame into the last one.
"""

import asyncio
import random
import re
from collections.abc import AsyncIterator

import orjson
from fastapi.sse import KEEPALIVE_COMMENT, EventSourceResponse, format_sse_event
from starlette.types import Receive, Scope, Send

from edge.core.protocol.positions import FollowedPosition
from edge.core.websocket.close_codes import CloseCode
from edge.core.websocket.frames import Opcode
from edge.http.forwarded import PEER
from edge.stop_signals import StopSignals
from edge.websocket.client import ClientServices
from edge.websocket.frame_transport import FrameTransport
from edge.websocket.http_connection import RESPONSE, ResponseControl
from edge.websocket.socket_cutter import SocketCutter, ends_of

RETRY_S = 1.0
"""A client whose stream ends comes back after one to two times this, unless it is told another."""
CHUNK_BYTES = 64 * 1024
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_RETRY = re.compile(r"retry in (\d+) s\Z")


class SseStream(FrameTransport):
    """Turns frames into the events of one response."""

    def __init__(
        self,
        services: ClientServices,
        position: FollowedPosition,
        cutter: SocketCutter,
        scope: Scope,
    ) -> None:
        """`scope` is that of the request."""
        self._position = position
        self._cutter = cutter
        self._ends = ends_of({**scope, "client": scope.get(PEER, scope.get("client"))})
        self._control: ResponseControl | None = scope.get(RESPONSE)
        self._is_aborted = False
        self._task: asyncio.Task[object] | None = None
        """Sends the response."""
        super().__init__(services)
        if self._control is not None:
            self._control.shutdown = self.shutdown

    async def events(self) -> AsyncIterator[bytes]:
        """Yield the events, several at a time; the next when the server has taken those."""
        self._task = asyncio.current_task()
        yield format_sse_event(retry=_spread_ms(RETRY_S))
        while not self._is_closing:
            await self._has_frames.wait()
            self._has_frames.clear()
            while self._frames and not self._is_closing:
                chunk, size = self._next_chunk()
                yield chunk
                self._buffered_bytes -= size
            if not self._is_closing:
                self.client.resume_writing()

    @property
    def is_told_to_stop(self) -> bool:
        """Whether the server itself calls `shutdown`."""
        return self._control is not None

    def shutdown(self) -> None:
        """The server stops: end the stream, so that it need not wait."""
        self.client.close(CloseCode.GOING_AWAY.close())

    def abort(self) -> None:
        """Cut the connection."""
        if self._is_aborted:
            return
        self._is_aborted = self._is_closing = True
        self._has_frames.set()
        if self._control is not None and self._control.abort is not None:
            self._control.abort()
        elif self._ends is not None:
            self._cutter.cut(self._ends)
        elif self._task is not None:
            self._task.cancel()

    def end(self) -> None:
        """The response has ended, or the client is gone."""
        self._is_closing = True
        if self._control is not None:
            self._control.shutdown = None
        self.client.connection_lost(None)

    def pause_reading(self) -> None:
        """Nothing is read."""

    def resume_reading(self) -> None:
        """Nothing is read."""

    def _hold(self, opcode: Opcode, size: int, payload: bytes) -> None:
        if opcode is Opcode.PING:
            # Were the client gone, the server would say so.
            self.client.ws.is_heard = True
        super()._hold(opcode, size, payload)

    def _next_chunk(self) -> tuple[bytes, int]:
        """Return events, and the bytes of their frames. A close frame ends the stream."""
        events: list[bytes] = []
        total = 0
        while self._frames and total < CHUNK_BYTES:
            opcode, size, payload = self._frames.popleft()
            total += size
            if opcode is Opcode.TEXT:
                position = self._position.take(orjson.loads(payload))
                events.append(format_sse_event(data_str=payload.decode(), id=position))
            elif opcode is Opcode.PING:
                events.append(KEEPALIVE_COMMENT)
            elif opcode is Opcode.CLOSE:
                events.append(_last_event(payload))
                self._is_closing = True
                break
        return b"".join(events), total


class SseStreams:
    """The streams of a worker that are open. Each ends when its server stops."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._open: set[SseStream] = set()
        self._signals = StopSignals(loop, self.shutdown)

    def add(self, stream: SseStream) -> None:
        """A response begins."""
        self._open.add(stream)
        if not stream.is_told_to_stop:
            self._signals.watch()

    def discard(self, stream: SseStream) -> None:
        """A response has ended."""
        self._open.discard(stream)

    def shutdown(self) -> None:
        """End all streams."""
        for stream in tuple(self._open):
            stream.shutdown()

    def close(self) -> None:
        """The worker ends."""
        self._signals.close()
        self.shutdown()


class EventStreamResponse(EventSourceResponse):
    """The response, which tells its stream of the end, whatever ends it."""

    def __init__(self, stream: SseStream, open_streams: SseStreams) -> None:
        """The stream is among `open_streams` until the response ends."""
        super().__init__(stream.events(), headers=HEADERS)
        self._stream = stream
        self._open_streams = open_streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        self._open_streams.add(self._stream)
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._open_streams.discard(self._stream)
            self._stream.end()


def _last_event(payload: bytes) -> bytes:
    code, reason = int.from_bytes(payload[:2]), payload[2:].decode(errors="ignore")
    asked = _RETRY.search(reason)
    data = orjson.dumps({"type": "close", "code": code, "reason": reason}).decode()
    retry = None if asked is None else _spread_ms(float(asked[1]))
    return format_sse_event(data_str=data, event="close", retry=retry)


def _spread_ms(seconds: float) -> int:
    """Return one to two times `seconds`, by chance: clients that were closed return spread out."""
    return int(1000 * seconds * (1 + random.random()))
