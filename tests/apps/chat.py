"""A chat: clients publish on rooms, which the application checks, and ask for things."""

import asyncio
from typing import Any

from fastapi import FastAPI
from starlette.requests import HTTPConnection

from edge import ActionRefused, ClientConnection, Edge


def who(connection: HTTPConnection) -> str | None:
    return connection.query_params.get("user")


async def may(identity: Any, action: str, topic: str) -> bool:
    """Carol may do more."""
    is_known = topic.startswith("room:") and action == "subscribe"
    return is_known or (identity.username == "carol" and action in ("publish", "request"))


live = Edge(authenticate=who, authorize=may)
app = FastAPI()
live.install(app, "/live")


@live.on_publish("room:*")
async def post(connection: ClientConnection, topic: str, data: Any) -> dict[str, str]:
    if not isinstance(data, str):
        raise ActionRefused("text only")
    if data == "boom":
        raise RuntimeError("a secret of the application")
    return {"id": await live.emit(topic, {"from": connection.username, "text": data})}


@live.answers("shout")
def shout(connection: ClientConnection, text: str, times: int = 1) -> list[str]:
    return [f"{connection.username}: {text.upper()}"] * times


@live.answers("stall")
async def stall(connection: ClientConnection) -> None:
    await asyncio.Event().wait()
