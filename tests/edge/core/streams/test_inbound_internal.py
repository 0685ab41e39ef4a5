"""Events from edge to edge: taken once, counted, and shown to no client."""

from typing import Any

import msgpack

from relay.wire.envelope import Envelope
from relay.wire.errors import InvalidEnvelope
from relay.wire.header import Stamp, pack_stamp
from relay.wire.topics import Pattern, Topic
from tests.edge.recorders import RecordingConnection
from tests.edge.relay_words import EPOCH, heartbeat
from tests.edge.world import EdgeCore

EVERYTHING = Pattern("", exact=False)


class Notes:
    """An `InternalEvents` that writes down what it takes."""

    def __init__(self) -> None:
        self.taken: list[Any] = []

    def command(self, topic: Topic, relayed_at: int, envelope: Envelope) -> None:
        if envelope.data == "wrong":
            raise InvalidEnvelope("data", "is wrong")
        self.taken.append((topic.subject, relayed_at, envelope.username, envelope.data))

    def state(self, topic: Topic, data: Any, *, is_live: bool) -> None:
        if data == "wrong":
            raise InvalidEnvelope("data", "is wrong")
        self.taken.append((topic.text, data, is_live))


def new_edge(served: tuple[str, ...] = ("",)) -> tuple[EdgeCore, Notes, RecordingConnection]:
    edge, notes = EdgeCore(served), Notes()
    edge.inbound.synchronize(EPOCH, heartbeat(10))
    edge.inbound.internal = notes
    admin = RecordingConnection("root", "admin")
    edge.manager.connect(admin)
    edge.manager.subscribe(admin, EVERYTHING, (EVERYTHING,))
    edge.manager.receive_personal(admin)
    return edge, notes, admin


def message(topic: str, offset: int, data: Any, username: str | None = None) -> list[bytes]:
    fields = {
        "type": "edge",
        "data": data,
        "source": "",
        "emitted_at": 1,
        "id": f"{topic}{offset}",
    }
    if username is not None:
        fields["username"] = username
    payload: bytes = msgpack.packb(fields)
    return [topic.encode(), pack_stamp(Stamp(EPOCH, offset, 77)), payload]


def test_a_command_is_taken_once_and_reaches_no_client() -> None:
    # Also by an edge that serves a part of the topics.
    for served in (("",), ("event:",)):
        edge, notes, admin = new_edge(served)
        command = message("addressed:edge:disconnect", 1, {"code": 4003}, "root")
        edge.arrive(command, command)
        assert notes.taken == [("edge:disconnect", 77, "root", {"code": 4003})]
        assert (admin.frames, admin.live) == ([], [])
        assert edge.stats.events_filtered["addressed"] == 1
        assert edge.stats.dropped.repeated["addressed"] == 1


def test_a_wrong_command_or_state_is_counted_as_malformed() -> None:
    edge, notes, _ = new_edge()
    edge.arrive(
        message("addressed:edge:disconnect", 1, "wrong", "root"),
        message("edge-state:a:1", 0, "wrong"),
    )
    assert notes.taken == []
    assert edge.stats.malformed["invalid_envelope"] == 2
    item = message("edge-state:a:1", 0, "wrong")
    edge.inbound.take_retained([(item[0], item[1], item[2])])
    assert edge.stats.unreadable["invalid_envelope"] == 1


def test_a_state_is_live_or_retained_and_reaches_no_client() -> None:
    edge, notes, admin = new_edge()
    item = message("edge-state:a:1", 0, {"n": 1})
    edge.arrive(item)
    edge.inbound.take_retained([(item[0], item[1], item[2])])
    assert notes.taken == [
        ("edge-state:a:1", {"n": 1}, True),
        ("edge-state:a:1", {"n": 1}, False),
    ]
    edge.manager.flush()
    assert (admin.frames, admin.live, len(edge.live)) == ([], [], 0)
    assert edge.stats.events_received["edge-state"] == edge.stats.events_filtered["edge-state"] == 1


def test_an_edge_without_others_ignores_them() -> None:
    edge, _, admin = new_edge()
    edge.inbound.internal = None
    item = message("edge-state:a:1", 0, {"n": 1})
    edge.arrive(message("addressed:edge:disconnect", 1, {}, "root"), item)
    edge.inbound.take_retained([(item[0], item[1], item[2])])
    assert (admin.frames, admin.live) == ([], [])
