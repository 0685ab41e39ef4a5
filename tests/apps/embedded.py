"""The smallest application: a relay beside it, users that a cookie names, an event of a handler."""

from fastapi import FastAPI
from starlette.requests import HTTPConnection

from edge import Edge


def user(connection: HTTPConnection) -> str | None:
    """In earnest: the user of your session."""
    return connection.cookies.get("user")


live = Edge(relay="embedded", authenticate=user)
app = FastAPI()
live.install(app, "/live")


@app.post("/orders/{number}")
async def order(number: int) -> str:
    return await live.emit("event:order", {"number": number})
