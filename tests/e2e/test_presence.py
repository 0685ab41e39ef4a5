"""Presence: who is subscribed to a topic, on all workers of all edges, whatever happens to them."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from edge.presence_service import GRACE_S
from relay.wire.errors import InvalidTopic
from tests.support.clients import Client, Message
from tests.support.cluster import Cluster, Edge
from tests.support.processes import python
from tests.support.waiting import wait_for

FILE = """
[kinds.room]
subscribe = ["user"]
presence = true

[kinds.hall]
subscribe = ["user"]

[kinds.lobby]
subscribe = ["guest"]
presence = true
"""


@pytest.fixture
def room(cluster: Cluster) -> Cluster:
    """A cluster with a relay that knows the file."""
    cluster.configure(FILE)
    cluster.start_relay()
    return cluster


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def get(cluster: Cluster, edge: Edge, path: str, user: str = "root", role: str = "admin") -> Any:
    """Return the JSON of a reply, or the status of an error."""
    request = urllib.request.Request(
        f"{edge.url}{path}", headers={"Authorization": f"Bearer {cluster.token(user, role)}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return json.loads(response.read())
    except urllib.error.HTTPError as error:
        return error.code


def present(cluster: Cluster, edge: Edge, topic: str = "room:5") -> dict[str, int]:
    """Return the users at `topic` with their connections, as any worker of `edge` knows them."""
    reply = get(cluster, edge, f"/api/presence/{topic}?limit=10000")
    return {each["username"]: each["connections"] for each in reply["present"]}


def in_room(cluster: Cluster, edge: Edge, user: str, topic: str = "room:5") -> Client:
    client = cluster.connect(edge, user)
    client.subscribe(topic)
    return client


def test_users_join_with_the_first_connection_and_leave_with_the_last(room: Cluster) -> None:
    edge, other = room.start_edge(), room.start_edge()
    watcher = room.connect(other, "wanda")
    reply = watcher.subscribe("presence:room:5")
    assert reply["topic"] == "presence:room:5"
    state = watcher.receive_on("presence:room:5")
    assert state["retained"] is True
    assert state["data"] == {"present": [], "users": 0, "connections": 0}
    first = in_room(room, edge, "ann")
    joined = watcher.receive_on("presence:room:5")["data"]
    assert (joined["users"], joined["connections"], joined["left"]) == (1, 1, [])
    (ann,) = joined["joined"]
    assert (ann["username"], ann["connections"]) == ("ann", 1)
    second = in_room(room, other, "ann")
    in_room(room, edge, "bob")
    assert [
        each["username"] for each in watcher.receive_on("presence:room:5")["data"]["joined"]
    ] == ["bob"]
    first.close()
    wait_for(lambda: present(room, edge) == {"ann": 1, "bob": 1}, "one connection of ann has ended")
    late = room.connect(edge, "walt")
    late.subscribe("presence:room:5")
    shown = late.receive_on("presence:room:5")["data"]
    assert [each["username"] for each in shown["present"]] == ["ann", "bob"]
    second.close()
    left = watcher.receive_on("presence:room:5")["data"]
    assert left == {"joined": [], "left": ["ann"], "users": 1, "connections": 1}


def refusal(client: Client, topic: str) -> tuple[str, str]:
    reply = client.ask({"action": "subscribe", "topic": topic})
    assert reply["status"] == "error", reply
    return reply["code"], reply["message"]


def test_presence_is_for_those_who_may_see_the_topic(room: Cluster) -> None:
    edge = room.start_edge()
    bob, guest = room.connect(edge, "bob"), room.connect(edge, "gus", "guest")
    code, message = refusal(bob, "presence:lobby:1")
    assert (code, 'lacks the role "user"' in message) == ("forbidden", True)
    code, message = refusal(bob, "presence:hall:1")
    assert (code, "[kinds.hall] in relay.toml lacks presence" in message) == ("forbidden", True)
    for topic in ("presence:*", "presence:room:*", "presence", "edge:*", "edge-state:x", "edge"):
        assert refusal(bob, topic)[0] == "invalid_topic"
    assert refusal(guest, "presence:room:5")[0] == "forbidden"
    guest.subscribe("presence:lobby:1")
    for path, status in (
        ("/api/presence/lobby:1", 403),
        ("/api/presence/hall:1", 404),
        ("/api/presence/not%20a%20topic:", 400),
        ("/api/presence?prefix=lobby:", 403),
        ("/api/presence/room:5", 200),
        ("/api/presence/room:5?limit=0", 422),
    ):
        found = get(room, edge, path, "bob", "user")
        assert (200 if isinstance(found, dict) else found) == status, path
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"{edge.url}/api/presence/room:5", timeout=10)


def test_counts_and_users_come_in_pages(room: Cluster) -> None:
    edge = room.start_edge()
    clients = [in_room(room, edge, name) for name in ("ann", "bob", "cat", "ann")]
    in_room(room, edge, "ann", "room:7")
    lobby = room.connect(edge, "gus", "guest")
    lobby.subscribe("lobby")
    wait_for(lambda: len(present(room, edge)) == 3, "all are there")
    everything = {
        "lobby": {"users": 1, "connections": 1},
        "room:5": {"users": 3, "connections": 4},
        "room:7": {"users": 1, "connections": 1},
    }
    wait_for(
        lambda: get(room, edge, "/api/presence") == {"topics": everything, "next": None},
        "an administrator sees all topics",
    )
    counts = get(room, edge, "/api/presence?limit=1", "bob", "user")
    assert counts == {"topics": {"room:5": everything["room:5"]}, "next": "room:5"}
    counts = get(room, edge, "/api/presence?prefix=room:&after=room:5", "bob", "user")
    assert counts == {"topics": {"room:7": everything["room:7"]}, "next": None}
    page = get(room, edge, "/api/presence/room:5?limit=2")
    assert [each["username"] for each in page["present"]] == ["ann", "bob"]
    assert (page["users"], page["connections"], page["next"]) == (3, 4, "bob")
    page = get(room, edge, "/api/presence/room:5?limit=2&after=bob")
    assert ([each["username"] for each in page["present"]], page["next"]) == (["cat"], None)
    paths = get(room, edge, "/openapi.json")["paths"]
    assert set(paths["/api/presence/{topic}"]["get"]["responses"]) >= {"200", "401", "403", "404"}
    assert set(paths["/api/users/{username}/disconnect"]["post"]["responses"]) >= {"204", "503"}
    for client in clients:
        client.close()


def test_patterns_do_not_count_and_nothing_internal_reaches_a_client(room: Cluster) -> None:
    edge = room.start_edge()
    root = room.connect(edge, "root", "admin")
    for pattern in ("*", "e*", "room:*", "p*"):
        root.subscribe(pattern)
    ann = in_room(room, edge, "ann")
    wait_for(lambda: present(room, edge) == {"ann": 1}, "only ann is in the room")
    emitter = room.emitter()
    for topic in ("presence:room:5", "edge:disconnect", "edge-state:x", "edge", "presence"):
        with pytest.raises(InvalidTopic, match="Event Relay itself uses the kind"):
            emitter.emit(topic, {})
    ann.close()
    wait_for(lambda: present(room, edge) == {}, "ann has left")
    emitter.emit("event:marker", {})
    late = root.receive_on("event:marker")
    root.ask({"action": "subscribe", "topic": "event:*", "last": 10})
    topics = {message.get("topic") for message in root.received if "status" not in message}
    assert topics - {None} == {"event:marker"}, late


class Watcher:
    """Follows the presence of `room:5` from its messages alone, and checks that they fit."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.users: set[str] = set()
        self.joins = self.leaves = 0
        client.subscribe("presence:room:5")
        state = client.receive_on("presence:room:5")
        assert state["retained"] is True
        self.users = {each["username"] for each in state["data"]["present"]}

    def follow(self, until: set[str]) -> None:
        """Take messages until the users are `until`."""
        while self.users != until:
            self._take(self._client.receive_on("presence:room:5", 30.0))

    def _take(self, message: Message) -> None:
        data = message["data"]
        joined = [each["username"] for each in data["joined"]]
        assert self.users.isdisjoint(joined), "a user joins once"
        assert self.users.issuperset(data["left"]), "only users who were there leave"
        self.users = self.users.union(joined).difference(data["left"])
        assert data["users"] == len(self.users)
        self.joins += len(joined)
        self.leaves += len(data["left"])


def test_a_short_absence_is_no_departure(room: Cluster) -> None:
    edge, other = room.start_edge(), room.start_edge()
    watcher = Watcher(room.connect(other, "wanda"))
    client = in_room(room, edge, "ann")
    watcher.follow({"ann"})
    long_absences = 0
    for target in (other, edge, other):
        client.close()
        left_at = time.monotonic()
        client = in_room(room, target, "ann")
        # A busy machine may take too long; then she has left, and come again.
        long_absences += time.monotonic() - left_at > GRACE_S / 2
    in_room(room, edge, "bob")
    watcher.follow({"ann", "bob"})
    client.close()
    watcher.follow({"bob"})
    assert watcher.joins - 2 == watcher.leaves - 1 <= long_absences


def test_an_edge_that_stops_takes_its_users_with_it(room: Cluster) -> None:
    edge, other = room.start_edge(), room.start_edge()
    watcher = Watcher(room.connect(other, "wanda"))
    in_room(room, edge, "ann")
    in_room(room, other, "bob")
    watcher.follow({"ann", "bob"})
    assert edge.process.terminate() == 0
    watcher.follow({"bob"})
    assert "Traceback" not in edge.process.output()


def test_an_edge_with_presence_names_a_wrong_setting_of_its_emitter(room: Cluster) -> None:
    wrong = room.start_forked("edge", python("-m", "edge"), EMITTER_NAMES="x", EDGE_PORT="1")
    wrong.wait_ended()
    [line] = wrong.output().splitlines()
    assert wrong.returncode == 2
    assert line.startswith("event-edge: EMITTER_NAMES: ")
