"""As much of an ASGI WebSocket server as a `Client` needs, on a real socket."""

import asyncio
import contextlib
import socket
import struct
from typing import Any

from starlette.websockets import WebSocket

from edge.core.websocket.frames import Opcode
from edge.core.websocket.reader import FrameReader, read_close
from edge.websocket.asgi import AsgiTransport
from edge.websocket.client import Client, ClientServices
from edge.websocket.socket_cutter import SocketCutter
from tests.support.websocket_frames import CLOSE, PONG, TEXT


class AsgiServer:
    """The `receive` and `send` of one connection. `send` waits while the socket is full."""

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
        self._loop = loop
        self._socket = sock
        self._reader = FrameReader(2**20)
        self._messages: list[dict[str, Any]] = [{"type": "websocket.connect"}]

    async def receive(self) -> dict[str, Any]:
        """Return the next message of the client."""
        while not self._messages:
            try:
                data = await self._loop.sock_recv(self._socket, 65536)
            except ConnectionError:
                data = b""
            if not data:
                return {"type": "websocket.disconnect", "code": 1006}
            for message in self._reader.feed(data):
                match message:
                    case (Opcode.TEXT, payload):
                        self._add({"type": "websocket.receive", "text": payload.decode()})
                    case (Opcode.BINARY, payload):
                        self._add({"type": "websocket.receive", "bytes": payload})
                    case (Opcode.PING, payload):
                        await self._send_frame(PONG, payload)
                    case (Opcode.CLOSE, payload):
                        self._add(
                            {"type": "websocket.disconnect", "code": read_close(payload).code}
                        )
        return self._messages.pop(0)

    async def send(self, message: Any) -> None:
        """Send a message of the application."""
        match message["type"]:
            case "websocket.send":
                await self._send_frame(TEXT, message["text"].encode())
            case "websocket.close":
                payload = struct.pack("!H", message["code"]) + message["reason"].encode()
                await self._send_frame(CLOSE, payload)

    def _add(self, message: dict[str, Any]) -> None:
        self._messages.append(message)

    async def _send_frame(self, first: int, payload: bytes) -> None:
        size = len(payload)
        header = (
            struct.pack("!BB", first, size) if size < 126 else struct.pack("!BBQ", first, 127, size)
        )
        await self._loop.sock_sendall(self._socket, header + payload)


async def accept_asgi(
    loop: asyncio.AbstractEventLoop,
    sock: socket.socket,
    services: ClientServices,
    stack: contextlib.ExitStack,
) -> Client:
    """Serve one connection until it ends, or until `stack` is closed."""
    stack.enter_context(sock)
    server = AsgiServer(loop, sock)
    websocket = WebSocket({"type": "websocket"}, server.receive, server.send)
    await websocket.accept()
    cutter = SocketCutter(loop, patience_s=0.1)
    stack.callback(cutter.close)
    transport = AsgiTransport(websocket, services, cutter)

    async def serve() -> None:
        with sock:
            await transport.run()

    task = loop.create_task(serve())
    stack.callback(task.cancel)
    return transport.client
