from fastapi import FastAPI, Response
from starlette.requests import HTTPConnection

from edge import Edge


def user(connection: HTTPConnection) -> str | None:
    return connection.cookies.get("user")  # in earnest: the user of your session


live = Edge(relay="embedded", authenticate=user)
app = FastAPI()
live.install(app, prefix="/live")


@app.post("/sign-in/{name}")
def sign_in(name: str, response: Response) -> None:
    response.set_cookie("user", name, httponly=True, samesite="strict")


@app.post("/orders/{number}")
async def order(number: int) -> str:
    return await live.emit("event:order", {"number": number})
