"""python-socketio as in its documentation: `emit` to every client."""

import json

import socketio  # type: ignore[import-untyped, import-not-found, unused-ignore]

from bench.peers.asgi_lines import serve

server = socketio.AsyncServer(async_mode="asgi", transports=["websocket"])


async def publish(line: str) -> None:
    """Send one event to every client."""
    await server.emit("event", json.loads(line))


if __name__ == "__main__":
    serve(socketio.ASGIApp(server), publish)
