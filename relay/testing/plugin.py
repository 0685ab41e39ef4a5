"""The pytest plugin of Event Relay: `pip install event-relay[test]` makes pytest load it.

Every run of pytest imports this module, so it imports Event Relay only inside the fixtures.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from relay.testing.client import EventClient
    from relay.testing.emitted import EmittedEvents
    from relay.testing.event_relay import ConnectClient, EventRelay

OF_EMITTERS = ("EMITTER_RELAY_INGRESS", "EMITTER_RELAY_CONTROL")


@pytest.fixture(scope="session")
def event_relay_settings() -> dict[str, str]:
    """Settings of the relay and the edge, such as `{"EDGE_WORKERS": "2"}`: define your own."""
    return {}


@pytest.fixture(scope="session")
def event_relay_server(
    tmp_path_factory: pytest.TempPathFactory, event_relay_settings: dict[str, str]
) -> "Iterator[EventRelay]":
    """A relay and an edge for all tests of the session, for fixtures with a wider scope.

    With pytest-xdist each worker has its own.
    """
    from relay.testing.event_relay import EventRelay

    relay = EventRelay(tmp_path_factory.mktemp("event_relay"), event_relay_settings)
    yield relay
    relay.close()


@pytest.fixture
def event_relay(event_relay_server: "EventRelay", monkeypatch: pytest.MonkeyPatch) -> "EventRelay":
    """The relay and the edge of the session; during the test, `Emitter()` finds them.

    So do programs that the test starts.
    """
    for name in OF_EMITTERS:
        monkeypatch.setenv(name, event_relay_server.env[name])
    return event_relay_server


@pytest.fixture
def emitted(event_relay: "EventRelay") -> "Iterator[EmittedEvents]":
    """The events from now on: `emitted("order_paid")` waits for one and returns its data."""
    from relay.testing.emitted import EmittedEvents

    events = EmittedEvents(event_relay.egress)
    yield events
    events.close()


@pytest.fixture
def connect_client(event_relay: "EventRelay") -> "Iterator[ConnectClient]":
    """A function that returns a WebSocket client signed in as a user; all are closed at the end."""
    opened: list[EventClient] = []

    def connect(username: str, role: str = "user") -> "EventClient":
        client = event_relay.connect(username, role)
        opened.append(client)
        return client

    yield connect
    for client in opened:
        client.close()
