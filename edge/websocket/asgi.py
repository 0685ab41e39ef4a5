"""`/ws` on any ASGI server: the same conversation, message by message."""

import asyncio
import contextlib

from starlette.responses import JSONResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from edge.core.websocket.close_codes import CloseCode
from edge.core.websocket.frames import Opcode
from edge.core.websocket.reader import Message
from edge.endpoint import ClientEndpoint, Refused
from edge.websocket.writer import AsgiClient


class AsgiEndpoint:
    """Serves what a server hands to the application; ours opens WebSockets at its front door."""

    def __init__(self, endpoint: ClientEndpoint) -> None:
        self._endpoint = endpoint

    async def serve(self, websocket: WebSocket) -> None:
        """Talk to one client until one side closes."""
        endpoint = self._endpoint
        try:
            visitor = endpoint.identify(
                websocket.headers, websocket.query_params, websocket.cookies
            )
        except Refused as refused:
            endpoint.refused()
            await _deny(websocket, refused)
            return
        await websocket.accept()
        client = AsgiClient(websocket, endpoint.writing)
        writer = asyncio.create_task(client.run())
        try:
            endpoint.open(client, visitor)
            with contextlib.suppress(WebSocketDisconnect, RuntimeError):
                while (message := await websocket.receive())["type"] == "websocket.receive":
                    if not client.closed and endpoint.counted(client):
                        self._receive(client, message.get("text"))
                        await client.may_read()
        finally:
            endpoint.left(client)
            writer.cancel()
            with contextlib.suppress(asyncio.CancelledError, WebSocketDisconnect, RuntimeError):
                await writer

    def _receive(self, client: AsgiClient, text: str | None) -> None:
        if text is None:
            self._endpoint.received(client, Message(Opcode.BINARY, b""))
            return
        payload = text.encode()
        if len(payload) > self._endpoint.settings.max_message_bytes:
            client.close(CloseCode.TOO_LARGE.close())
        else:
            self._endpoint.received(client, Message(Opcode.TEXT, payload))


async def serve_websocket(websocket: WebSocket) -> None:
    """Serve a client whose WebSocket the server has not opened at the front door."""
    await AsgiEndpoint(websocket.state.worker.endpoint).serve(websocket)


async def _deny(websocket: WebSocket, refused: Refused) -> None:
    """Refuse the handshake; a server that cannot do that answers 403."""
    if "websocket.http.response" not in websocket.scope.get("extensions", {}):
        await websocket.close()
        return
    await websocket.send_denial_response(
        JSONResponse({"detail": refused.detail}, refused.status, refused.headers)
    )
