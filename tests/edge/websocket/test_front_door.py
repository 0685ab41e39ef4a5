"""`FrontDoor` alone: the deadline of a first request."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from edge.websocket.front_door import FrontDoor
from tests.support.raw_http import request


class SilentTransport:
    """A transport on which nothing is written."""

    def __init__(self) -> None:
        self.protocol: Any = None
        self.is_aborted = False

    def get_protocol(self) -> Any:
        """As a transport's."""
        return self.protocol

    def abort(self) -> None:
        """Remember."""
        self.is_aborted = True

    def write(self, data: bytes) -> None:
        """Fail: a silent client gets no answer."""
        raise AssertionError(data)


@pytest.mark.parametrize("said", [b"", b"G", b"GET /ws?", request("/ws")[:-2]])
def test_a_connection_without_a_complete_request_is_cut_off(said: bytes) -> None:
    """The deadline itself takes 10 s, so the test calls what it would."""

    config: Any = None
    guard = SimpleNamespace(is_served=lambda _: True)
    endpoint = SimpleNamespace(arriving=set(), guard=guard)
    state = SimpleNamespace(connections=set())
    door = FrontDoor(config, cast(Any, state), {"client_endpoint": endpoint})
    transport: Any = SilentTransport()
    transport.protocol = door
    door.connection_made(transport)
    assert endpoint.arriving == {door.abort_if_silent}
    if said:
        door.data_received(said)
    assert not transport.is_aborted
    door.abort_if_silent()
    assert transport.is_aborted
