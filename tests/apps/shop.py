"""A shop: users are known by a key in the query, in a header or in a cookie."""

import os
from typing import Annotated, Any, NamedTuple

from fastapi import Depends, FastAPI, HTTPException, Request, WebSocket
from starlette.requests import HTTPConnection

from edge import ClientConnection, Edge


class Customer(NamedTuple):
    """A user, as the shop knows one."""

    username: str
    shops: frozenset[str]


def key_of(connection: HTTPConnection) -> str | None:
    """The key in a request, in the order of the shop."""
    _, _, bearer = connection.headers.get("authorization", "").partition(" ")
    return connection.query_params.get("key") or bearer or connection.cookies.get("shop")


async def customer(key: Annotated[str | None, Depends(key_of)]) -> Customer | None:
    """`alice+books+toys` is the key of alice, who may see two shops."""
    if key is None:
        return None
    name, *shops = key.split("+")
    if name == "broken":
        raise RuntimeError("the shop is broken")
    if name == "nobody":
        raise HTTPException(402, "Pay first", {"X-Shop": "closed"})
    return Customer(name, frozenset(shops))


async def may_see(identity: Any, action: str, topic: str) -> bool:
    """A customer sees the shops in the key, and with `till` in it may also publish there."""
    kind, _, name = topic.partition(":")
    if name == "broken":
        raise RuntimeError("the shop is broken")
    wanted = {name} if action == "subscribe" else {name, "till"}
    return kind == "shop" and wanted <= identity.user.shops


live = Edge(relay=os.environ.get("SHOP_RELAY"), authenticate=customer, authorize=may_see)
app = FastAPI(root_path=os.environ.get("SHOP_ROOT_PATH", ""))
app.state.greeting = "welcome"
live.install(app, os.environ.get("SHOP_PREFIX", "/live"))
happened: list[list[str]] = []


@live.on_connect
async def connected(connection: ClientConnection) -> None:
    happened.append(["connect", connection.username])
    connection.send({"type": "greeting", "text": app.state.greeting, "client": connection.id})


@live.on_disconnect
def disconnected(connection: ClientConnection) -> None:
    happened.append(["disconnect", connection.username])


@live.on_subscribe
def subscribed(connection: ClientConnection, topic: str) -> None:
    happened.append(["subscribe", connection.username, topic])


@live.on_unsubscribe
async def unsubscribed(connection: ClientConnection, topic: str) -> None:
    happened.append(["unsubscribe", connection.username, topic])


@live.on_message
async def said(connection: ClientConnection, message: dict[str, Any]) -> None:
    if message["action"] == "leave":
        connection.close(4100, "bye")
    if message["action"] == "fail":
        raise RuntimeError("the hook is broken")
    connection.send({"type": "echo", "message": message, "topics": connection.topics})


@app.post("/emit/{topic}")
async def emit(topic: str, request: Request) -> dict[str, str]:
    """Emit the body; `?to=` sends it to one user."""
    data = await request.json()
    to = request.query_params.get("to")
    if to is not None:
        return {"id": await live.send_to_user(to, topic, data)}
    once = request.query_params.get("once")
    return {"id": await live.emit(topic, data, once=once, acknowledged=once is not None)}


@app.post("/manager/{client_id}")
async def send(client_id: str) -> list[Any]:
    """The calls that an application with a connection manager has."""
    message = {"type": "stock", "topic": "note:9", "data": {"n": 1}}
    return [
        await live.manager.send_to_client(client_id, message),
        await live.manager.broadcast_to_topic("shop:stock", message),
        await live.manager.send_to_user("pia", message),
        await live.manager.send_to_user("pia", {"data": "no topic"}),
    ]


@app.get("/happened")
async def tell() -> list[list[str]]:
    return happened


@app.get("/me")
async def me(user: Annotated[Any, Depends(live.user)]) -> dict[str, str]:
    """The edge's own dependency in a handler of the shop."""
    return {"username": user.username}


@app.post("/upload")
async def upload(request: Request) -> int:
    """More than the edge's own routes take."""
    return len(await request.body())


@app.websocket("/echo")
async def echo(websocket: WebSocket) -> None:
    """A WebSocket of the shop's own."""
    await websocket.accept()
    await websocket.send_text(await websocket.receive_text())
    await websocket.close()
