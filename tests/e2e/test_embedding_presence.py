"""Presence and disconnecting in an application of one's own, with its own permissions."""

import pytest

from edge import Edge
from relay.shared.settings import SettingsError
from tests.support.cluster import Cluster
from tests.support.host_app import HostApp, serve
from tests.support.waiting import wait_for


@pytest.fixture(scope="module", params=["front door", "uvicorn"])
def rooms(request: pytest.FixtureRequest, shared_cluster: Cluster) -> HostApp:
    return serve(shared_cluster, "tests.apps.rooms:app", request.param, workers=2)


def names(rooms: HostApp, topic: str) -> list[str]:
    return [each["username"] for each in rooms.request(f"/in/{topic}")[1]]


def test_handlers_know_who_is_in_a_room(rooms: HostApp) -> None:
    with rooms.subscribed("room:all", "key=ann") as ann, rooms.subscribed("room:all", "key=bob"):
        # Each worker knows of the clients of both.
        wait_for(
            lambda: all(names(rooms, "room:all") == ["ann", "bob"] for _ in range(6)),
            "both are in the room",
        )
        reply = ann.subscribe("presence:room:all")
        assert reply["status"] == "success"
        there: set[str] = set()
        while there != {"ann", "bob"}:
            data = ann.receive_on("presence:room:all")["data"]
            there |= {each["username"] for each in data.get("present", data.get("joined"))}
    wait_for(lambda: names(rooms, "room:all") == [], "both have left")
    assert "has no presence" in rooms.request("/in/hall:all")[1]


def test_whoever_may_not_see_a_topic_may_not_see_its_presence(rooms: HostApp) -> None:
    with rooms.subscribed("room:cat", "key=cat") as cat:
        cat.subscribe("presence:room:cat")
        wait_for(lambda: names(rooms, "room:cat") == ["cat"], "cat is in the room")
        for topic in ("presence:room:dan", "presence:hall:all"):
            reply = cat.ask({"action": "subscribe", "topic": topic})
            assert reply["code"] == "forbidden", topic
        for path, status in (
            ("room:cat", 200),
            ("room:all", 200),
            ("room:dan", 403),
            ("hall:all", 404),
        ):
            assert rooms.request(f"/live/api/presence/{path}?key=cat")[0] == status, path
        assert rooms.request("/live/api/presence?prefix=room:&key=cat")[0] == 403
        # A renewed identity keeps what it may still see.
        reply = cat.ask({"action": "authenticate", "token": "", "id": 1})
        assert reply["status"] == "success"
        cat.ask({"action": "unsubscribe", "topic": "room:cat"})
        left = cat.receive_until(
            lambda m: "left" in m.get("data", {}) and m["data"]["left"] == ["cat"], "cat has left"
        )
        assert left["topic"] == "presence:room:cat"


def test_a_guest_is_shown_out_after_the_last_word(rooms: HostApp) -> None:
    guests = [rooms.subscribed("room:all", "key=eve") for _ in range(6)]
    with rooms.subscribed("room:all", "key=fay") as fay:
        assert rooms.request("/out/eve", method="POST")[0] == 200
        for guest in guests:
            assert guest.wait_closed() == (4321, "shown out")
            assert [m["data"] for m in guest.received if m.get("topic") == "notice:out"] == [
                "please leave"
            ]
        assert fay.ask({"action": "unsubscribe", "topic": "room:x"})["status"] == "success"
    assert rooms.request("/wrong")[1] == "code must be 4000 to 4999, not 1000"


@pytest.mark.parametrize("kind", ["Room", "presence", "edge", ""])
def test_presence_names_kinds(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_JWT_SECRET", "s" * 32)
    with pytest.raises(SettingsError, match="presence: must be kinds of topics"):
        Edge(presence=[kind])
