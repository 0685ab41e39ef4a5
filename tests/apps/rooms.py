"""Rooms of one's own: everybody knows who is in a room, and a rude guest is shown out."""

from typing import Any

from fastapi import FastAPI
from starlette.requests import HTTPConnection

from edge import Edge


def guest(connection: HTTPConnection) -> str | None:
    return connection.query_params.get("key")


def may(identity: Any, action: str, topic: str) -> bool:
    """The room of a guest's own name is for that guest alone."""
    return topic in ("room:all", "hall:all", f"room:{identity.username}")


live = Edge(authenticate=guest, authorize=may, presence=["room"])
app = FastAPI()
live.install(app, "/live")


@app.post("/out/{name}")
async def show_out(name: str) -> None:
    await live.send_to_user(name, "notice:out", "please leave")
    await live.disconnect(name, code=4321, reason="shown out")


@app.get("/in/{topic}")
async def who(topic: str) -> Any:
    try:
        return [each._asdict() for each in await live.presence(topic)]
    except ValueError as error:
        return str(error)


@app.get("/wrong")
async def wrong() -> str:
    try:
        await live.disconnect("ann", code=1000)
    except ValueError as error:
        return str(error)
    return "allowed"
