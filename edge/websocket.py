"""The uvicorn protocol class that lets the edge write frames straight to the transport.

It offers itself to the application in `scope["extensions"]` under `EXTENSION`. Everything else,
the handshake, reading, pings and the closing handshake, is uvicorn's and `websockets`'.
"""

from typing import Any, Protocol

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from edge.core.close_codes import Close, CloseCode

EXTENSION = "event_relay.direct"
CLOSE_TIMEOUT_S = 5.0
"""For the peer to answer a close frame; then the connection is cut."""
SHUTDOWN_TIMEOUT_S = 2.0


class WriteListener(Protocol):
    """Told when the transport's buffer is full and when it has room again."""

    def pause_writing(self) -> None:
        """The peer reads too slowly; the buffer is above its high-water mark."""

    def resume_writing(self) -> None:
        """The buffer is below its low-water mark."""


class DirectWebSocketProtocol(WebSocketsSansIOProtocol):
    """Adds to uvicorn's protocol: writing whole frames, closing at once, buffer events."""

    write_listener: WriteListener | None = None

    def write_frames(self, frames: bytes) -> bool:
        """Write one or more complete frames, which the kernel gets in as few calls as possible.

        Returns whether that was still possible.
        """
        if self.close_sent or self.transport.is_closing():
            return False
        self.transport.write(frames)
        return True

    def buffered_bytes(self) -> int:
        """What was written and the kernel has not taken yet."""
        return self.transport.get_write_buffer_size()

    def close_now(self, close: Close, timeout_s: float = CLOSE_TIMEOUT_S) -> None:
        """Start the closing handshake without waiting for the buffer to drain.

        The close frame goes out behind what is buffered. A peer that does not answer within
        `timeout_s` is cut off.
        """
        if self.close_sent or self.disconnected or self.transport.is_closing():
            return
        self.stop_keepalive()
        self.queue.put_nowait(
            {"type": "websocket.disconnect", "code": close.code, "reason": close.reason}
        )
        self.conn.send_close(close.code, close.reason)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        self.close_timer = self.loop.call_later(timeout_s, self.transport.abort)

    def handle_connect(self, event: Any) -> None:
        """See uvicorn; adds the extension before the application runs."""
        super().handle_connect(event)
        if not self.close_sent:
            extensions: dict[str, Any] = self.scope["extensions"]
            extensions[EXTENSION] = self

    def send_receive_event_to_app(self) -> None:
        """See uvicorn; bad UTF-8 is the client's fault and no reason to log a traceback."""
        if self.curr_msg_data_type == "text":
            data = b"".join(self.frames)
            try:
                data.decode()
            except UnicodeDecodeError:
                self.frames = []
                self.close_now(CloseCode.INVALID_TEXT.close())
                return
        super().send_receive_event_to_app()

    async def send(self, message: Any) -> None:
        """See uvicorn; a handshake that was denied with a response is complete too."""
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body"):
            self.handshake_complete = True

    def pause_writing(self) -> None:
        """Called by the transport."""
        super().pause_writing()
        if self.write_listener is not None:
            self.write_listener.pause_writing()

    def resume_writing(self) -> None:
        """Called by the transport."""
        super().resume_writing()
        if self.write_listener is not None:
            self.write_listener.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the transport."""
        super().connection_lost(exc)
        self.write_listener = None

    def shutdown(self) -> None:
        """Called by uvicorn when the server stops: say so with 1001."""
        if self.handshake_complete and not self.close_sent:
            self.close_now(CloseCode.GOING_AWAY.close(), SHUTDOWN_TIMEOUT_S)
        elif not self.close_sent:
            super().shutdown()


def direct_protocol(extensions: dict[str, Any]) -> DirectWebSocketProtocol | None:
    """Return the protocol object if the server runs ours, None on any other ASGI server."""
    protocol = extensions.get(EXTENSION)
    return protocol if isinstance(protocol, DirectWebSocketProtocol) else None
