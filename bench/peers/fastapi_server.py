"""The `ConnectionManager` of FastAPI's tutorial: https://fastapi.tiangolo.com/advanced/websockets/"""

from fastapi import FastAPI, WebSocket, WebSocketDisconnect

from bench.peers.asgi_lines import serve


class ConnectionManager:
    """As in the tutorial."""

    def __init__(self) -> None:
        self.active_connections: list[WebSocket] = []

    async def connect(self, websocket: WebSocket) -> None:
        """Accept a client."""
        await websocket.accept()
        self.active_connections.append(websocket)

    def disconnect(self, websocket: WebSocket) -> None:
        """Forget a client."""
        self.active_connections.remove(websocket)

    async def broadcast(self, message: str) -> None:
        """Send `message` to one client after the other."""
        for connection in self.active_connections:
            await connection.send_text(message)


app = FastAPI()
manager = ConnectionManager()


@app.websocket("/ws/{client_id}")
async def endpoint(websocket: WebSocket, client_id: int) -> None:
    """Keep the connection until the client closes it."""
    await manager.connect(websocket)
    try:
        while True:
            await websocket.receive_text()
    except WebSocketDisconnect:
        manager.disconnect(websocket)


if __name__ == "__main__":
    serve(app, manager.broadcast)
