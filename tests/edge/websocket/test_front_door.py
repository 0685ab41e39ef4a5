"""`FrontDoor` alone: the deadline of a first request, and the question to an application."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from edge.websocket.front_door import STATE, FrontDoor
from edge.websocket.identification import HandshakeRefused
from edge.websocket.reception import Reception
from tests.support.raw_http import request


class QuietTransport:
    """A transport that keeps what is written on it."""

    def __init__(self) -> None:
        self.protocol: Any = None
        self.is_aborted = False
        self.written = b""
        self.has_written = asyncio.Event()

    def get_protocol(self) -> Any:
        """As a transport's."""
        return self.protocol

    def abort(self) -> None:
        """Remember."""
        self.is_aborted = True

    def write(self, data: bytes) -> None:
        """Keep."""
        self.written += data
        self.has_written.set()

    def can_write_eof(self) -> bool:
        """As a transport's."""
        return False

    def close(self) -> None:
        """As a transport's, which waits for the end of TLS from the peer."""

    def is_closing(self) -> bool:
        """As a transport's."""
        return False

    def pause_reading(self) -> None:
        """As a transport's."""

    def get_extra_info(self, name: str) -> Any:
        """A connection with TLS."""
        return name if name == "sslcontext" else None


class QuietArrival:
    """A connection that is served; its deadlines are gathered."""

    refusal = None

    def __init__(self, deadlines: list[Callable[[], None]]) -> None:
        self.expect = deadlines.append

    def hold(self, _: object) -> None:
        """It may have to give way."""

    def release(self, _: object) -> None:
        """It need not."""


@pytest.mark.parametrize("said", [b"", b"G", b"GET /ws?", request("/ws")[:-2]])
def test_a_connection_without_a_complete_request_is_given_up(said: bytes) -> None:
    """The deadline itself takes 10 s, so the test calls what it would."""

    config: Any = None
    arriving: list[Callable[[], None]] = []
    endpoint = SimpleNamespace(
        arrivals=SimpleNamespace(enter=lambda *_: QuietArrival(arriving), party=lambda *_: None),
        handshake_refused=lambda: None,
    )
    state = SimpleNamespace(connections=set())
    door = FrontDoor(config, cast(Any, state), {STATE: endpoint})
    transport: Any = QuietTransport()
    transport.protocol = door
    door.connection_made(transport)
    if said:
        door.data_received(said)
    assert not transport.is_aborted
    arriving.pop()()
    if said:
        assert transport.written.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
        door.data_received(b"x" * 1000)
        arriving.pop()()
    assert transport.is_aborted


class Application:
    """Keeps what it is asked, and refuses."""

    def __init__(self) -> None:
        self.asked: list[Reception] = []

    async def visitor(self, head: object, peer: str | None, reception: Reception) -> None:
        """As an edge in an application."""
        self.asked.append(reception)
        raise HandshakeRefused(418, "no")


def test_an_application_is_asked_as_the_server_would_call_it() -> None:
    """With all that is wrapped around it, and with what its own lifespan has yielded."""
    wrapped, application = object(), Application()
    endpoint = SimpleNamespace(
        arrivals=SimpleNamespace(enter=lambda *_: QuietArrival([]), party=lambda *_: None),
        handshake_refused=lambda: None,
        overload_s=lambda _: None,
        requests=SimpleNamespace(run=lambda open_now, _: open_now() is None),
        settings=SimpleNamespace(compression=False),
        application=application,
    )
    state = {STATE: endpoint, "db": "theirs"}
    server: Any = SimpleNamespace(connections=set())
    config: Any = SimpleNamespace(loaded_app=wrapped, root_path="/shop")
    transport: Any = QuietTransport()

    async def scenario() -> None:
        door = FrontDoor(config, server, state)
        door.connection_made(transport)
        door.data_received(request("/ws"))
        await transport.has_written.wait()

    asyncio.run(scenario())
    assert transport.written.startswith(b"HTTP/1.1 418 ")
    (reception,) = application.asked
    assert reception == (wrapped, state, "wss", "/shop")
