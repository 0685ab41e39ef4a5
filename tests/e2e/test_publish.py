"""`POST /api/events`: permitted, acknowledged, once, within bounds (docs/http.md)."""

import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.clients import Client
from tests.support.cluster import Cluster, Edge
from tests.support.http_api import Answer, publish, request, whole_history
from tests.support.waiting import wait_for

CONFIG = """
[kinds.order]
mode = "stream"
subscribe = ["user"]
publish = ["till"]

[kinds.meter]
subscribe = ["user"]
publish = ["till"]
"""
ORDER = {"topic": "order:1", "data": {"n": 1}}
NOBODYS = "x" * 32


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("config") / "relay.toml"
    path.write_text(CONFIG)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EVENT_RELAY_CONFIG", str(path))
        yield path


@pytest.fixture(scope="module")
def cluster(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A relay that knows the kinds of the file."""
    cluster = Cluster(tmp_path_factory.mktemp("shared"))
    try:
        cluster.start_relay()
        yield cluster
    finally:
        cluster.close()


@pytest.fixture(scope="module")
def edge(cluster: Cluster) -> Edge:
    return cluster.start_edge(EDGE_MAX_PUBLISH_BYTES="300000")


@pytest.fixture
def till(cluster: Cluster) -> str:
    return cluster.token("till-1", "till")


@pytest.fixture
def watcher(cluster: Cluster, edge: Edge) -> Iterator[Client]:
    with cluster.connect(edge, "alice") as client:
        client.subscribe("order:*")
        client.subscribe("meter:*")
        yield client


def numbers(answer: Answer) -> list[int]:
    assert answer.status == 200, answer
    return [each["data"]["n"] for each in answer.body["events"]]


class TestOne:
    def test_an_event_reaches_subscribers_and_is_stored(
        self, edge: Edge, till: str, watcher: Client
    ) -> None:
        answer = publish(edge.url, till, ORDER | {"type": "paid"})
        assert (answer.status, [each["stored"] for each in answer.body["events"]]) == (200, [True])
        event = watcher.receive_on("order:1")
        assert (event["type"], event["data"]) == ("paid", {"n": 1})

    def test_a_live_value_is_handed_over(self, edge: Edge, till: str, watcher: Client) -> None:
        answer = publish(edge.url, till, {"topic": "meter:1", "data": 3.5})
        assert [each["stored"] for each in answer.body["events"]] == [False]
        assert watcher.receive_on("meter:1")["data"] == 3.5

    def test_an_addressed_event_reaches_its_user_alone(
        self, cluster: Cluster, edge: Edge, till: str, watcher: Client
    ) -> None:
        with cluster.connect(edge, "bob") as bob, cluster.connect(edge, "root", "admin") as admin:
            admin.subscribe("*")
            bob.subscribe("event:*")
            publish(edge.url, till, ORDER | {"username": "bob", "data": {"for": "bob"}})
            publish(edge.url, till, ORDER | {"data": {"for": "all"}})
            assert bob.receive_on("order:1")["stream"] == "addressed"
            for client in (admin, watcher):
                assert client.receive_on("order:1")["data"] == {"for": "all"}

    @pytest.mark.parametrize("role", ["user", "till"])
    def test_the_kind_must_be_permitted(self, cluster: Cluster, edge: Edge, role: str) -> None:
        token = cluster.token("someone", role)
        before = whole_history(
            cluster, edge.url, token if role == "user" else cluster.token("u"), "order"
        )
        topic = "order:1" if role == "user" else "event:a"
        answer = publish(edge.url, token, [{"topic": topic, "data": 1, "username": "someone"}])
        assert answer.status == 403
        assert answer.body == {
            "detail": f"event 0: not allowed to publish on topic '{topic}'",
            "index": 0,
            "field": "topic",
        }
        assert (
            whole_history(cluster, edge.url, cluster.token("u"), "order").body["next"]
            == before.body["next"]
        )

    def test_without_a_token_nothing_is_read(self, edge: Edge) -> None:
        assert publish(edge.url, NOBODYS, ORDER).status == 401
        assert request(f"{edge.url}/api/events", data=ORDER).status == 401

    def test_a_page_of_another_site_cannot_use_the_cookie(
        self, cluster: Cluster, edge: Edge, till: str
    ) -> None:
        cookie = f"access_token_cookie_{edge.port}={till}"
        url = f"{edge.url}/api/events"
        foreign = request(url, data=ORDER, Cookie=cookie, Origin="https://evil.example")
        assert (foreign.status, "origin" in foreign.body["detail"]) == (403, True)
        assert request(url, data=ORDER, Cookie=cookie, Origin=edge.url).status == 200
        assert request(url, data=ORDER, Cookie=cookie).status == 200
        assert request(url, till, ORDER, Cookie="a=b", Origin="https://x.example").status == 200


class TestMany:
    def test_they_arrive_in_their_order(self, edge: Edge, till: str, watcher: Client) -> None:
        events = [{"topic": f"order:{n % 3}", "data": {"n": n}} for n in range(1000)]
        answer = publish(edge.url, till, events)
        assert len({each["id"] for each in answer.body["events"]}) == 1000
        watcher.receive_until(lambda m: m.get("data") == {"n": 999}, "the last")
        found = [m["data"]["n"] for m in watcher.received if m.get("offset")]
        assert found == list(range(1000))

    @pytest.mark.parametrize(
        ("wrong", "status", "field"),
        [
            ({"topic": "order:2"}, 422, "data"),
            ({"topic": "order:2", "data": {"x": [1, 2**60]}}, 422, "data.x[1]"),
            ({"topic": "order:2", "data": 1, "username": ""}, 422, "username"),
            ({"topic": "order:2", "data": 1, "type": "x" * 300}, 422, "type"),
            ({"topic": "order:2", "data": 1, "typ": "x"}, 422, "typ"),
            ({"topic": "no topic", "data": 1}, 422, "topic"),
            ({"topic": "event:a", "data": 1}, 403, "topic"),
        ],
    )
    def test_one_that_is_wrong_keeps_all_out(
        self, cluster: Cluster, edge: Edge, till: str, wrong: Any, status: int, field: str
    ) -> None:
        alice = cluster.token("alice")
        before = whole_history(cluster, edge.url, alice, "order", topic="order:all-or-none").body[
            "events"
        ]
        event = {"topic": "order:all-or-none", "data": {}}
        answer = publish(edge.url, till, [event, wrong, event])
        assert (answer.status, answer.body["index"], answer.body["field"]) == (status, 1, field)
        assert answer.body["detail"].startswith("event 1: ")
        after = whole_history(cluster, edge.url, alice, "order", topic="order:all-or-none").body[
            "events"
        ]
        assert after == before

    @pytest.mark.parametrize("body", [b"", b"{", b"[]", b"5", json.dumps([ORDER] * 1001).encode()])
    def test_a_body_that_is_none(self, edge: Edge, till: str, body: bytes) -> None:
        answer = publish(edge.url, till, body)
        assert answer.status == 422
        assert answer.body["detail"]

    def test_a_large_body_and_one_that_is_too_large(self, edge: Edge, till: str) -> None:
        large = ORDER | {"data": "x" * 250_000}
        assert publish(edge.url, till, large).status == 200
        assert publish(edge.url, till, ORDER | {"data": "x" * 400_000}).status == 413
        form = b"username=a&password=" + b"x" * 100_000
        assert request(f"{edge.url}/auth/token", data=form).status == 413, "other routes stay small"


class TestOnce:
    def test_a_repeated_request_publishes_nothing_twice(
        self, cluster: Cluster, edge: Edge, till: str, watcher: Client
    ) -> None:
        """Through two edges: as if the first answer was lost."""
        events = [{"topic": "order:once", "data": {"n": n}} for n in range(3)]
        events.append({"topic": "meter:once", "data": {"n": 3}})
        other = cluster.start_edge()
        answers = [
            publish(each.url, till, events, Idempotency_Key="key-1") for each in (edge, other, edge)
        ]
        assert [each.status for each in answers] == [200] * 3
        assert answers[0].body == answers[1].body == answers[2].body
        page = whole_history(cluster, edge.url, cluster.token("alice"), "order", topic="order:once")
        assert numbers(page) == [0, 1, 2]
        other.process.terminate()

    def test_many_at_the_same_time_are_one(self, cluster: Cluster, edge: Edge, till: str) -> None:
        event = {"topic": "order:race", "data": {"n": 1}}
        with ThreadPoolExecutor(10) as pool:
            answers = list(
                pool.map(
                    lambda _: publish(edge.url, till, event, Idempotency_Key="race"), range(10)
                )
            )
        assert {each.status for each in answers} == {200}
        assert len({json.dumps(each.body) for each in answers}) == 1
        page = whole_history(cluster, edge.url, cluster.token("alice"), "order", topic="order:race")
        assert len(page.body["events"]) == 1

    def test_a_key_of_another_body_is_refused(self, edge: Edge, till: str) -> None:
        assert publish(edge.url, till, ORDER, Idempotency_Key="key-2").status == 200
        answer = publish(edge.url, till, ORDER | {"data": 2}, Idempotency_Key="key-2")
        assert answer.status == 409
        assert "another body" in answer.body["detail"]

    def test_keys_of_different_users_are_different(
        self, cluster: Cluster, edge: Edge, till: str
    ) -> None:
        event = {"topic": "order:users", "data": {"n": 1}}
        for token in (till, cluster.token("till-2", "till")):
            publish(edge.url, token, event, Idempotency_Key="key-3")
        page = whole_history(
            cluster, edge.url, cluster.token("alice"), "order", topic="order:users"
        )
        assert numbers(page) == [1, 1]

    def test_the_key_of_a_refused_request_is_for_the_corrected_one(
        self, edge: Edge, till: str
    ) -> None:
        wrong = ORDER | {"data": {"n": 2**60}}
        assert publish(edge.url, till, wrong, Idempotency_Key="key-4").status == 422
        assert publish(edge.url, till, ORDER, Idempotency_Key="key-4").status == 200

    @pytest.mark.parametrize("key", ["", "x" * 256])
    def test_a_key_has_a_length(self, edge: Edge, till: str, key: str) -> None:
        assert publish(edge.url, till, ORDER, Idempotency_Key=key).status == 422


class TestBounds:
    def test_a_user_has_a_rate(self, cluster: Cluster, till: str, stack: ExitStack) -> None:
        edge = cluster.start_edge(EDGE_PUBLISH_PER_S="0.5", EDGE_PUBLISH_BURST="3")
        stack.callback(edge.process.terminate)
        assert publish(edge.url, till, [ORDER] * 3).status == 200
        limited = publish(edge.url, till, [ORDER] * 2)
        assert (limited.status, limited.headers["Retry-After"]) == (429, "4")
        assert publish(edge.url, cluster.token("till-2", "till"), ORDER).status == 200
        too_many = publish(edge.url, till, [ORDER] * 4)
        assert (too_many.status, "1 to 3 events" in too_many.body["detail"]) == (422, True)
        assert edge.metrics()["edge_publish_requests"] == {
            "published": 2.0,
            "limited": 1.0,
            "invalid": 1.0,
        }
        assert edge.metrics()["edge_published"] == {"": 4.0}

    def test_requests_of_one_user_at_a_time_are_bounded(
        self, cluster: Cluster, edge: Edge, till: str, stack: ExitStack
    ) -> None:
        """Slow bodies of one user leave room for others."""
        head = (
            f"POST /api/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {till}\r\n"
            "Content-Length: 100\r\n\r\n{"
        ).encode()
        for _ in range(20):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", edge.port)))
            sock.sendall(head)

        def is_full() -> bool:
            return publish(edge.url, till, ORDER).status == 429

        wait_for(is_full, "the places of this user are taken")
        assert publish(edge.url, cluster.token("till-2", "till"), ORDER).status == 200
        stack.close()
        wait_for(lambda: not is_full(), "the places are free again")
        assert "Traceback" not in edge.process.output()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


class TestTroubles:
    def test_what_is_acknowledged_survives_kill_9_of_the_relay(
        self, config: Path, tmp_path: Path
    ) -> None:
        cluster = Cluster(tmp_path)
        try:
            relay = cluster.start_relay()
            edge = cluster.start_edge()
            token = cluster.token("root", "admin")
            told: list[int] = []

            def publish_all() -> None:
                number = 0
                while len(told) < 60:
                    event = {"topic": "order:1", "data": {"n": number}}
                    key = f"key-{number}"
                    if publish(edge.url, token, event, Idempotency_Key=key).status == 200:
                        told.append(number)
                        number += 1

            publisher = threading.Thread(target=publish_all)
            publisher.start()
            for count in (20, 40):
                wait_for(lambda count=count: len(told) >= count, f"{count} events")  # type: ignore[misc]
                relay.kill()
                relay = cluster.start_relay()
            publisher.join(60)
            assert told == list(range(60))
            edge.wait_ready()
            page = whole_history(cluster, edge.url, token, "order", limit=1000)
            assert numbers(page) == told, "each once, in order"
        finally:
            cluster.close()

    def test_without_a_relay_the_answer_says_that_nothing_was_taken(
        self, config: Path, tmp_path: Path
    ) -> None:
        alone = Cluster(tmp_path)
        try:
            relay = alone.start_relay()
            edge = alone.start_edge(EDGE_PUBLISH_TIMEOUT_S="0.3")
            # A later one could not judge any token.
            relay.kill()
            token = alone.token("root", "admin")
            answer = publish(edge.url, token, ORDER)
            assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
            assert answer.body == {"detail": "Nothing was taken: the relay is away", "ids": []}
            alone.start_relay()
            wait_for(lambda: publish(edge.url, token, ORDER).status == 200, "the relay is found")
            edge.wait_ready()
            assert len(whole_history(alone, edge.url, token, "order").body["events"]) == 1
        finally:
            alone.close()

    def test_without_an_acknowledgement_the_answer_says_that_it_may_still_arrive(
        self, config: Path, tmp_path: Path
    ) -> None:
        alone = Cluster(tmp_path)
        try:
            relay = alone.start_relay()
            edge = alone.start_edge(EDGE_PUBLISH_TIMEOUT_S="1")
            token = alone.token("root", "admin")
            assert publish(edge.url, token, ORDER).status == 200
            relay.signal(19)
            answer = publish(edge.url, token, ORDER, Idempotency_Key="k")
            assert answer.status == 503
            assert answer.body["detail"].startswith("The events may still arrive")
            relay.signal(18)
            again: list[Answer] = []

            def is_published() -> bool:
                again.append(publish(edge.url, token, ORDER, Idempotency_Key="k"))
                return again[-1].status == 200

            wait_for(is_published, "the relay goes on")
            assert [each["id"] for each in again[-1].body["events"]] == answer.body["ids"]
            edge.wait_ready()
            assert len(whole_history(alone, edge.url, token, "order").body["events"]) == 2
        finally:
            alone.close()
