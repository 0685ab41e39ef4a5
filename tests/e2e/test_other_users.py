"""Nobody gets what is another user's, on any road and under any name (protocol section 7)."""

import json
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import NamedTuple
from urllib.parse import quote

import pytest

from relay.wire.grants import name_in_topics
from tests.support.clients import Client, Message
from tests.support.cluster import Cluster, Edge
from tests.support.http_api import StreamClient, history, publish, request, whole_history

FILE = """
[kinds.private]
mode = "stream"
subscribe = { user = "{username}:*" }
publish = { user = "{username}:*" }
presence = true

[kinds.cell]
subscribe = { user = ["{username}", "{username}:*"] }
"""
VICTIMS = ("alice", "a:b", "zoé")
STRANGERS = (
    *("bob", "a", "b", "al", "alice ", " alice", "ALICE", "alice:", "alice:1", "alice\u0000"),
    *("alice\u200b", "\uff41lice", "alice\uff1a1", "alic%65", "a%3Ab", "a\uff1ab", "zoe", "ZOÉ"),
    *("*", "al*", "{username}", "%", "é" * 200),
)
"""Names that begin, look, or are written like those of the victims, and such as mean something."""
SECRET = "for one user alone"


class Place(NamedTuple):
    """A running edge, and the position before everything."""

    cluster: Cluster
    edge: Edge
    epoch: int

    def token(self, user: str) -> str:
        return self.cluster.token(user)

    def client(self, user: str, query: str = "") -> Client:
        return Client(f"ws://127.0.0.1:{self.edge.port}/ws?token={self.token(user)}{query}")


def topic(kind: str, user: str) -> str:
    return f"{kind}:{name_in_topics(user)}:1"


def patterns(victim: str) -> list[str]:
    """Return the patterns that match topics of the victim, or might."""
    own = topic("private", victim)
    plain = f"private:{victim}:1"
    return list(
        dict.fromkeys(
            (
                *(own, own[:-1] + "*", own[:-2] + "*", f"private:{victim}", plain, f"{plain}*"),
                *(f"private:{victim[0]}*", "private:*", "private", "pri*", "p*", "*"),
                *(plain.upper().lower(), unicodedata.normalize("NFD", plain), plain + " "),
                *(f"private:{victim}\uff1a1", topic("cell", victim), f"cell:{victim}", "cell:*"),
                *(f"presence:{own}", "task:of-" + victim.replace(":", "-"), "task:*", "addressed*"),
            )
        )
    )


def emit_all(cluster: Cluster, number: int) -> None:
    """Emit what is the victims' own, once in each form."""
    emitter = cluster.emitter(f"secrets-{number}")
    for victim in VICTIMS:
        data = {"secret": SECRET, "of": victim}
        emitter.emit(topic("private", victim), data)
        emitter.emit(topic("cell", victim), data)
        emitter.emit("event:addressed", data, username=victim)
        task = "task:of-" + victim.replace(":", "-")
        emitter.emit(task, {"status": "in_progress", **data}, username=victim)
    assert emitter.wait_acknowledged(20)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A cluster with the file, the victims' events, and the victims, who are connected."""
    cluster = Cluster(tmp_path_factory.mktemp("others"))
    with ExitStack() as stack:
        stack.callback(cluster.close)
        cluster.configure(FILE)
        cluster.start_relay()
        edge = cluster.start_edge()
        found = Place(cluster, edge, 0)
        for victim in VICTIMS:
            client = stack.enter_context(found.client(victim))
            reply = client.subscribe(topic("private", victim))
            client.subscribe(topic("cell", victim))
            found = found._replace(epoch=reply["epoch"])
        emit_all(cluster, 0)
        # The edge has read it all.
        whole_history(cluster, edge.url, found.token("alice"), "private")
        yield found


def retained(place: Place, user: str, asked: list[str]) -> Iterator[str]:
    """Subscribe, and see the values that are retained."""
    yield from _watched(place, user, [{"topic": each} for each in asked])


def since(place: Place, user: str, asked: list[str]) -> Iterator[str]:
    """Resume from the beginning."""
    start = {"since": {"private": 0, "cell": 0, "event": 0}, "epoch": place.epoch}
    yield from _watched(place, user, [{"topic": each, **start} for each in asked])


def last(place: Place, user: str, asked: list[str]) -> Iterator[str]:
    """Ask for the newest events."""
    yield from _watched(place, user, [{"topic": each, "last": 100} for each in asked])


def personal(place: Place, user: str, asked: list[str]) -> Iterator[str]:
    """Resume the events for one user."""
    yield from _watched(place, user, [], f"&epoch={place.epoch}&task=0&addressed=0")


def tasks(place: Place, user: str, asked: list[str]) -> Iterator[str]:
    """List tasks, and poll them as other front ends do."""
    names = ["of-" + victim.replace(":", "-") for victim in VICTIMS]
    for path in ("", "/list", *(f"/status/{quote(name)}" for name in names)):
        yield json.dumps(request(f"{place.edge.url}/api/tasks{path}", place.token(user)).body)


def pages(place: Place, user: str, asked: list[str]) -> Iterator[str]:
    """Read the history of each stream."""
    for stream in ("private", "task", "addressed", "event"):
        yield json.dumps(history(place.edge.url, place.token(user), stream).body)
    for each in asked:
        yield json.dumps(history(place.edge.url, place.token(user), "private", topic=each).body)


def streams(place: Place, user: str, asked: list[str]) -> Iterator[str]:
    """Watch by SSE, from the beginning."""
    at = f"{place.epoch}:addressed=0,event=0,private=0,task=0"
    for each in asked:
        url = f"{place.edge.url}/api/events?topic={quote(each)}"
        answer = request(url, place.token(user), method="HEAD")
        if answer.status != 200:
            assert answer.status in (403, 422), answer
            continue
        with StreamClient(
            place.edge.url, (each,), token=place.token(user), last_event_id=at
        ) as stream:
            stream.receive_until(lambda message: "status" in message, "the reply")
            yield json.dumps(stream.received)


def presence(place: Place, user: str, asked: list[str]) -> Iterator[str]:
    """Read who is subscribed."""
    for each in asked:
        answer = request(f"{place.edge.url}/api/presence/{quote(each)}", place.token(user))
        # Its list names the user: that is the secret here.
        yield SECRET if answer.status == 200 and answer.body["present"] else ""
        url = f"{place.edge.url}/api/presence?prefix={quote(each.rstrip('*'))}"
        answer = request(url, place.token(user))
        yield SECRET if answer.status == 200 and answer.body["topics"] else ""


BY_REQUESTS = (pages, streams, presence)
"""Each asks for a pattern by a request of its own, so for fewer of them."""
ROADS = (retained, since, last, personal, tasks, *BY_REQUESTS)


def _watched(
    place: Place, user: str, asked: list[dict[str, object]], query: str = ""
) -> Iterator[str]:
    """Yield what a client received up to its last reply."""
    with place.client(user, query) as client:
        for each in asked:
            client.ask({"action": "subscribe", **each})
        # Behind all that its handshake has asked for.
        client.ask({"action": "subscribe", "topic": "event:nothing"})
        yield json.dumps(client.received)


@pytest.mark.parametrize("road", ROADS)
def test_a_road_leads_to_ones_own_alone(
    place: Place, road: Callable[[Place, str, list[str]], Iterator[str]]
) -> None:
    asked = list(dict.fromkeys(each for victim in VICTIMS for each in patterns(victim)))
    if road in BY_REQUESTS:
        asked = [*(topic("private", victim) for victim in VICTIMS), "private:*", "*"]
    for user in VICTIMS:
        found = "".join(road(place, user, asked))
        assert SECRET in found, f"{user} gets what is theirs"
        for other in VICTIMS:
            of_other = json.dumps({"of": other})[1:-1]
            assert (of_other in found) <= (other == user), f"{user} gets {other}'s"
    for user in STRANGERS:
        assert SECRET not in "".join(road(place, user, asked)), f"{user!r}"


def test_live_events_and_values_reach_their_user_alone(place: Place) -> None:
    asked = list(dict.fromkeys(each for victim in VICTIMS for each in patterns(victim)))
    with ExitStack() as stack:
        clients = {user: stack.enter_context(place.client(user)) for user in (*VICTIMS, *STRANGERS)}
        for client in clients.values():
            for each in asked:
                client.send({"action": "subscribe", "topic": each})
            client.send({"action": "subscribe", "topic": "event:marker", "id": "last"})
        for client in clients.values():
            client.receive_until(lambda each: each.get("id") == "last", "the last reply")
        before = {user: len(client.received) for user, client in clients.items()}
        emit_all(place.cluster, 1)
        marker = place.cluster.emitter("marker")
        marker.emit("event:marker", {})
        for user, client in clients.items():
            client.receive_on("event:marker")
            seen = [each for each in client.received[before[user] :] if _is_secret(each)]
            topics = {each["topic"].partition(":")[0] for each in seen}
            if user not in VICTIMS:
                assert seen == [], f"{user!r}"
            else:
                assert {each["data"]["of"] for each in seen} == {user}
                assert topics == {"private", "cell", "event", "task"}


def _is_secret(message: Message) -> bool:
    return SECRET in json.dumps(message)


def test_nobody_publishes_on_anothers_topic(place: Place) -> None:
    for user in (*VICTIMS, *STRANGERS):
        with place.client(user) as client:
            for victim in VICTIMS:
                name = topic("private", victim)
                data = {"action": "publish", "topic": name, "data": {"by": user}}
                wanted = ("success", 200) if user == victim else ("error", 403)
                assert client.ask(data)["status"] == wanted[0], (user, victim)
                event = {"topic": name, "data": {"by": user}}
                assert publish(place.edge.url, place.token(user), event).status == wanted[1]
    page = whole_history(place.cluster, place.edge.url, place.token("root"), "event")
    assert page.status == 200


def test_two_spellings_of_one_name_are_one_user(place: Place) -> None:
    decomposed = unicodedata.normalize("NFD", "zoé")
    found = "".join(last(place, decomposed, [topic("private", "zoé")]))
    assert SECRET in found
