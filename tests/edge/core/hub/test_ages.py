"""`ConnectionAges`: the connections that were there at a time."""

from edge.core.hub.ages import ConnectionAges
from relay.wire.topics import parse_pattern
from tests.edge.recorders import RecordingConnection


def test_connections_are_as_old_as_their_authentication() -> None:
    now = [100]
    ages = ConnectionAges(lambda: now[0])
    old, new, unknown = (RecordingConnection() for _ in range(3))
    ages.connected(old)
    now[0] = 200
    ages.connected(new)
    ages.subscribed(old, parse_pattern("event:x"))
    ages.unsubscribed(old, parse_pattern("event:x"))
    assert [ages.existed(old, at) for at in (99, 100, 150)] == [False, True, True]
    assert [ages.existed(new, at) for at in (199, 200)] == [False, True]
    assert ages.existed(unknown, 1), "rather one too many than one too few"
    ages.disconnected(old)
    ages.disconnected(unknown)
    assert ages.existed(old, 1)
