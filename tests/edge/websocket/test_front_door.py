"""`FrontDoor` alone: the deadline of a first request."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from edge.websocket.front_door import FrontDoor
from tests.support.raw_http import request


class QuietTransport:
    """A transport that keeps what is written on it."""

    def __init__(self) -> None:
        self.protocol: Any = None
        self.is_aborted = False
        self.written = b""

    def get_protocol(self) -> Any:
        """As a transport's."""
        return self.protocol

    def abort(self) -> None:
        """Remember."""
        self.is_aborted = True

    def write(self, data: bytes) -> None:
        """Keep."""
        self.written += data

    def can_write_eof(self) -> bool:
        """As a transport's."""
        return False


@pytest.mark.parametrize("said", [b"", b"G", b"GET /ws?", request("/ws")[:-2]])
def test_a_connection_without_a_complete_request_is_given_up(said: bytes) -> None:
    """The deadline itself takes 10 s, so the test calls what it would."""

    config: Any = None
    arriving: list[Callable[[], None]] = []
    endpoint = SimpleNamespace(
        arriving=SimpleNamespace(add=arriving.append),
        guard=SimpleNamespace(is_served=lambda _: True),
        handshake_refused=lambda: None,
    )
    state = SimpleNamespace(connections=set())
    door = FrontDoor(config, cast(Any, state), {"client_endpoint": endpoint})
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
