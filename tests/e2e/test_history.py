"""`GET /api/streams/{stream}/events`: the past, page by page (docs/http.md)."""

from collections.abc import Iterator

import pytest

from tests.support.cluster import Cluster, Edge
from tests.support.http_api import Answer, history, request
from tests.support.waiting import wait_for

COUNT = 2_500


@pytest.fixture(scope="module")
def cluster(shared_cluster: Cluster) -> Cluster:
    return shared_cluster


@pytest.fixture(scope="module")
def edge(cluster: Cluster) -> Edge:
    """An edge that came after the events: it remembers none of them."""
    emitter = cluster.emitter()
    for number in range(COUNT):
        emitter.emit(f"event:{'even' if number % 2 == 0 else 'odd'}", {"n": number})
    for number in range(20):
        emitter.emit("note:1", {"n": number}, username=("alice", "bob")[number % 2])
        emitter.emit(f"task:{number}", {"status": "success"}, username="alice")
    emitter.emit("event:even", {"for": "bob"}, username="bob")
    assert emitter.wait_acknowledged(30)
    return cluster.start_edge()


def pages(edge: Edge, token: str, stream: str, **query: object) -> Iterator[Answer]:
    while True:
        answer = history(edge.url, token, stream, **query)
        assert answer.status == 200, answer
        yield answer
        if not answer.body["has_more"]:
            return
        query["after"] = answer.body["next"]


def numbers(answers: Iterator[Answer]) -> list[int]:
    return [each["data"]["n"] for answer in answers for each in answer.body["events"]]


def test_the_pages_are_the_stream(cluster: Cluster, edge: Edge) -> None:
    alice = cluster.token("alice")
    assert numbers(pages(edge, alice, "event", limit=1000)) == list(range(COUNT))
    evens = pages(edge, alice, "event", topic="event:ev*", limit=300)
    assert numbers(evens) == list(range(0, COUNT, 2))
    assert numbers(pages(edge, alice, "event", topic="event:none")) == []


def test_new_events_follow_the_last_page(cluster: Cluster, edge: Edge) -> None:
    alice = cluster.token("alice")
    *_, last = pages(edge, alice, "event", limit=1000)
    after = last.body["next"]
    assert history(edge.url, alice, "event", after=after).body["events"] == []
    cluster.emitter("later").emit("event:even", {"n": COUNT})

    def has_come() -> bool:
        return numbers(iter([history(edge.url, alice, "event", after=after)])) == [COUNT]

    wait_for(has_come, "the new event")


def test_everybody_has_a_personal_past_and_no_other(cluster: Cluster, edge: Edge) -> None:
    alice, bob = cluster.token("alice"), cluster.token("bob")
    assert numbers(pages(edge, alice, "addressed", limit=3)) == list(range(0, 20, 2))
    *of_bob, last = [e for a in pages(edge, bob, "addressed", limit=3) for e in a.body["events"]]
    assert [each["data"]["n"] for each in of_bob] == list(range(1, 20, 2))
    assert (last["topic"], last["data"], last["stream"]) == (
        "event:even",
        {"for": "bob"},
        "addressed",
    )
    admin = cluster.token("root", "admin")
    for stream in ("addressed", "task"):
        assert history(edge.url, admin, stream, limit=1000).body["events"] == []
    assert len(history(edge.url, alice, "task").body["events"]) == 20


@pytest.mark.parametrize(
    ("stream", "query", "status", "words"),
    [
        ("event", {"after": "nonsense"}, 422, "after is not a position"),
        ("event", {"limit": 0}, 422, "limit"),
        ("event", {"limit": 1001}, 422, "limit"),
        ("event", {"topic": "task:1"}, 422, "within the stream event"),
        ("event", {"topic": "Event"}, 422, "topic: "),
        ("task", {"topic": "task:1"}, 422, "has no choice of topics"),
        ("resource-monitor", {}, 404, "no such stream"),
        ("Not a kind", {}, 404, "no such stream"),
    ],
)
def test_wrong_input_is_named(
    cluster: Cluster, edge: Edge, stream: str, query: dict[str, object], status: int, words: str
) -> None:
    token = cluster.token("root", "admin")
    answer = history(edge.url, token, stream.replace(" ", "%20"), **query)
    assert answer.status == status
    assert words in str(answer.body)


def test_the_permission_is_that_to_subscribe(cluster: Cluster, edge: Edge) -> None:
    answer = history(edge.url, cluster.token("guest", "guest"), "event")
    assert answer.status == 403
    assert "relay.toml" in answer.body["detail"]
    assert request(f"{edge.url}/api/streams/event/events").status == 401


def test_while_the_relay_is_away_there_is_none(cluster: Cluster) -> None:
    edge = cluster.start_edge(ready=False, EDGE_RELAY_EGRESS="tcp://127.0.0.1:9")
    answer = history(edge.url, cluster.token("alice"), "event")
    assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
    edge.process.terminate()
