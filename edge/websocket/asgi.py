"""`/ws` on any ASGI server: an `AsgiTransport` takes the place of the socket under a `Client`.

On our own server `FrontDoor` opens WebSockets, and nothing here is used.
"""

import asyncio
import contextlib
import logging
import math

from starlette.responses import JSONResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from edge.core.identity.credentials import chosen_subprotocol
from edge.core.identity.request_head import RequestHead
from edge.core.session import Visitor
from edge.core.websocket.close_codes import CloseCode
from edge.core.websocket.frames import Opcode
from edge.core.websocket.reader import Message
from edge.websocket.client import ClientServices
from edge.websocket.endpoint import CLOSE_TIMEOUT_S
from edge.websocket.frame_transport import FrameTransport
from edge.websocket.identification import HandshakeRefused
from edge.websocket.socket_cutter import SocketCutter, ends_of
from edge.worker import worker_of
from relay.shared.logs import LimitedLog

SERVER_ERRORS = (WebSocketDisconnect, RuntimeError, OSError)
"""The errors of servers when the application sends or receives after the connection is lost."""
LAST_WORDS_S = 1.0
"""Seconds for a server to take the close frame when it ends the application."""
HOUR_S = 3600.0

logger = logging.getLogger(__name__)
_reminder = LimitedLog(logger, HOUR_S)


class AsgiTransport(FrameTransport):
    """Splits the frames written to it into ASGI messages, which one task sends.

    Pings and pongs are the server's own affair (docs/operations.md, "Other ASGI servers").
    """

    def __init__(
        self, websocket: WebSocket, services: ClientServices, cutter: SocketCutter
    ) -> None:
        """`websocket` is accepted already."""
        self._websocket = websocket
        self._cutter = cutter
        self._ends = ends_of(websocket.scope)
        self._may_read = asyncio.Event()
        self._may_read.set()
        self._is_aborted = asyncio.Event()
        self._max_message_bytes = services.max_message_bytes
        super().__init__(services)

    async def run(self) -> None:
        """Move messages both ways until the connection ends, then tell the client."""
        receiving = asyncio.create_task(self._receive_all())
        sending = asyncio.create_task(self._send_all())
        aborted = asyncio.create_task(self._is_aborted.wait())
        try:
            await asyncio.wait([receiving, aborted], return_when=asyncio.FIRST_COMPLETED)
            await self._let_go(receiving)
        except asyncio.CancelledError:
            # The server stops.
            self.client.close(CloseCode.GOING_AWAY.close())
            await asyncio.wait([sending], timeout=LAST_WORDS_S)
            raise
        finally:
            self._is_closing = True
            for task in (receiving, sending, aborted):
                task.cancel()
            try:
                # Not `gather`, which would replace the cancellation of a caller, such as a scope of
                # anyio, by one that its caller does not know.
                await asyncio.wait([receiving, sending, aborted])
            finally:
                self.client.connection_lost(None)

    async def _let_go(self, receiving: asyncio.Task[None]) -> None:
        """Make sure that the connection ends, also under a server that would hold it for ever."""
        if self._ends is None:
            return
        if receiving.done():
            # uvicorn reports the end as soon as it has sent a close frame. If it was not asked to
            # send one, the client has left.
            if self.client.closed:
                self._cutter.cut_late(self._ends)
        else:
            self._cutter.cut(self._ends)
            # Received to the end: hypercorn holds a connection whose messages nobody takes.
            await asyncio.wait([receiving], timeout=CLOSE_TIMEOUT_S)

    def pause_reading(self) -> None:
        """Take no message from the server until `resume_reading`, or a close."""
        if not self.client.closed:
            self._may_read.clear()

    def resume_reading(self) -> None:
        """Take messages again."""
        self._may_read.set()

    def abort(self) -> None:
        """Cut the connection."""
        self._is_closing = True
        self._may_read.set()
        self._is_aborted.set()

    def _hold(self, opcode: Opcode, size: int, payload: bytes) -> None:
        if opcode is Opcode.PING:
            # The server pings. Were the client gone, the server would say so.
            self.client.ws.is_heard = True
        elif opcode is not Opcode.PONG:
            super()._hold(opcode, size, payload)
        if opcode is Opcode.CLOSE:
            # From now on messages are received to be dropped, up to the end.
            self._may_read.set()

    async def _send_all(self) -> None:
        with contextlib.suppress(*SERVER_ERRORS):
            while True:
                await self._has_frames.wait()
                self._has_frames.clear()
                while self._frames:
                    opcode, size, payload = self._frames.popleft()
                    if opcode is Opcode.CLOSE:
                        code, reason = (
                            int.from_bytes(payload[:2]),
                            payload[2:].decode(errors="ignore"),
                        )
                        await self._websocket.close(code, reason)
                        return
                    await self._websocket.send_text(payload.decode())
                    self._buffered_bytes -= size
                self.client.resume_writing()

    async def _receive_all(self) -> None:
        client = self.client
        with contextlib.suppress(*SERVER_ERRORS):
            while True:
                await self._may_read.wait()
                message = await self._websocket.receive()
                if message["type"] != "websocket.receive":
                    return
                text = message.get("text")
                payload = (message.get("bytes") or b"") if text is None else text.encode()
                if client.closed or not client.count_bytes(len(payload)):
                    continue
                if text is None:
                    client.read(iter((Message(Opcode.BINARY, b""),)))
                elif len(payload) > self._max_message_bytes:
                    client.fail(CloseCode.TOO_LARGE.close())
                else:
                    client.read(iter((Message(Opcode.TEXT, payload),)))


async def serve_websocket(websocket: WebSocket) -> None:
    """Serve one client until its connection ends."""
    _reminder.warning(
        "server",
        "the ASGI server opens WebSockets itself, with fewer protections than event-edge:"
        " see docs/operations.md",
    )
    head = head_of(websocket)
    endpoint = worker_of(websocket).endpoint
    try:
        visitor = endpoint.identify(head, peer_of(websocket))
    except HandshakeRefused as refused:
        await refuse(websocket, refused)
        return
    await admit(websocket, head, visitor)


async def admit(websocket: WebSocket, head: RequestHead, visitor: Visitor) -> None:
    """Serve `visitor`, who has sent the handshake `head`, until the connection ends."""
    worker = worker_of(websocket)
    endpoint = worker.endpoint
    wait_s = endpoint.overload_s()
    await websocket.accept(chosen_subprotocol(head))
    if wait_s is not None:
        close = CloseCode.TRY_AGAIN_LATER.close(f"overloaded, retry in {math.ceil(wait_s)} s")
        await websocket.close(*endpoint.turned_away(close))
        return
    transport = AsgiTransport(websocket, endpoint.client_services, worker.cutter)
    arrival = endpoint.arrivals.of_request(head, peer_of(websocket))
    endpoint.open(transport.client, visitor, arrival)
    await transport.run()


async def refuse(websocket: WebSocket, refused: HandshakeRefused) -> None:
    """Refuse the handshake; a server that cannot answer with a response answers 403."""
    worker_of(websocket).endpoint.handshake_refused()
    if "websocket.http.response" not in websocket.scope.get("extensions", {}):
        await websocket.close()
        return
    await websocket.send_denial_response(
        JSONResponse({"detail": refused.detail}, refused.status, refused.headers)
    )


def head_of(websocket: WebSocket) -> RequestHead:
    """Return the handshake."""
    return RequestHead.of_scope(websocket.scope)


def peer_of(websocket: WebSocket) -> str | None:
    """Return the address of its sender."""
    return None if websocket.client is None else websocket.client.host
