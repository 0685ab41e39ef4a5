"""An edge in an application of one's own, under each server (docs/embedding.md)."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.support.cluster import Cluster
from tests.support.host_app import SERVERS, HostApp, serve
from tests.support.http_api import StreamClient, history, publish, request, whole_history
from tests.support.waiting import wait_for

SHOP = "tests.apps.shop:app"


@pytest.fixture(scope="module")
def cluster(shared_cluster: Cluster) -> Cluster:
    return shared_cluster


@pytest.fixture(scope="module", params=SERVERS)
def shop(request: pytest.FixtureRequest, cluster: Cluster) -> HostApp:
    """One for all tests of a server; each test has customers of its own."""
    return serve(cluster, SHOP, request.param)


@pytest.fixture(scope="module")
def door(cluster: Cluster) -> HostApp:
    """The shop on the front door, for tests in which the server makes no difference."""
    return serve(cluster, SHOP)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def happened_to(shop: HostApp, username: str) -> list[list[str]]:
    return [what for what in shop.request("/happened")[1] if what[1] == username]


def refusal(shop: HostApp, query: str, **options: Any) -> tuple[int, dict[str, str]]:
    """Status and headers with which the handshake is refused."""
    with pytest.raises(InvalidStatus) as refused:
        shop.connect(query, **options)
    return refused.value.response.status_code, dict(refused.value.response.headers)


class TestUnderEachServer:
    def test_a_handler_reaches_a_customer_who_may_see_it(self, shop: HostApp) -> None:
        with shop.connect("key=ann%2Bbooks") as client:
            assert client.receive_until(lambda m: m.get("type") == "greeting", "the greeting")
            client.subscribe("shop:books")
            assert client.ask({"action": "subscribe", "topic": "shop:toys"})["status"] == "error"
            shop.request("/emit/shop:books", ["a", "list"])
            assert client.receive_on("shop:books")["data"] == ["a", "list"]

    def test_what_happens_is_told_in_its_order(self, shop: HostApp) -> None:
        with shop.connect("key=bea%2Bbooks%2Btoys") as client:
            client.subscribe("shop:books")
            client.subscribe("shop:toys")
            client.ask({"action": "unsubscribe", "topic": "shop:books"})
            client.send({"action": "hello", "id": 7})
            echo = client.receive_until(lambda m: m.get("type") == "echo", "the echo")
            assert echo["message"] == {"action": "hello", "id": 7}
            assert echo["topics"] == ["shop:toys"]
            client.send({"action": "leave"})
            assert client.wait_closed() == (4100, "bye")
        expected = [
            ["connect", "bea"],
            ["subscribe", "bea", "shop:books"],
            ["subscribe", "bea", "shop:toys"],
            ["unsubscribe", "bea", "shop:books"],
            ["unsubscribe", "bea", "shop:toys"],
            ["disconnect", "bea"],
        ]
        wait_for(lambda: happened_to(shop, "bea") == expected, "all is told")

    def test_the_application_refuses_with_its_own_answer(self, shop: HostApp) -> None:
        server = shop.process.name.partition("-")[0]
        status, headers = refusal(shop, "key=nobody")
        if server in ("front door", "uvicorn", "hypercorn"):
            assert (status, headers.get("x-shop", headers.get("X-Shop"))) == (402, "closed")
        else:
            assert status in (402, 403)

    def test_a_page_of_another_site_is_refused(self, shop: HostApp) -> None:
        assert refusal(shop, "key=cat", origin="http://evil.example")[0] == 403
        shop.connect("key=cat", origin=shop.url).close()

    def test_the_first_message_may_tell_who_it_is(self, shop: HostApp) -> None:
        with shop.connect() as client:
            reply = client.ask({"action": "authenticate", "token": "dan+books", "id": 1})
            assert (reply["status"], reply["username"]) == ("success", "dan")
            assert "expires_at" not in reply
            client.subscribe("shop:books")
        with shop.connect() as client:
            client.send({"action": "subscribe", "topic": "shop:books"})
            assert client.wait_closed() == (1008, "Missing authentication message")

    def test_the_other_routes_of_the_application_are_its_own(self, shop: HostApp) -> None:
        assert shop.request("/upload", "x" * 200_000)[1] == 200_002
        assert shop.request("/me?key=eve")[1] == {"username": "eve"}
        assert shop.request("/me")[0] == 401
        with connect(f"ws://127.0.0.1:{shop.port}/echo", proxy=None) as socket:
            socket.send("hi")
            assert socket.recv(10) == "hi"

    def test_the_routes_of_the_edge_are_below_the_prefix(self, shop: HostApp) -> None:
        assert shop.request("/live/auth/me?key=eve")[1]["username"] == "eve"
        assert shop.request("/live/api/tasks?key=eve") == (200, {"tasks": []})
        assert shop.request("/live/auth/me")[0] == 401
        assert shop.request("/live/auth/token", {})[0] == 404
        assert "<title>Event Relay" in shop.request("/live/")[1]
        paths = shop.request("/live/openapi.json")[1]["paths"]
        assert "/api/tasks" in paths
        assert shop.request("/live/static/relay-client.js")[0] == 200
        assert shop.request("/healthz")[0] == 404

    def test_a_message_for_one_user_reaches_all_of_that_user(
        self, shop: HostApp, stack: ExitStack
    ) -> None:
        first, second, other = (
            stack.enter_context(shop.connect(f"key={key}")) for key in ("fay", "fay", "gus%2Bnote")
        )
        other.subscribe("shop:note")
        shop.request("/emit/note:1?to=fay", {"n": 1})
        shop.request("/emit/shop:note", {"n": 2})
        assert first.receive_on("note:1")["data"] == {"n": 1}
        assert second.receive_on("note:1")["stream"] == "addressed"
        other.receive_on("shop:note")
        assert not [m for m in other.received if m.get("topic") == "note:1"]

    def test_events_are_published_and_watched_over_http(self, shop: HostApp) -> None:
        live, name = f"{shop.url}/live", f"p{shop.port}"
        topic = f"shop:{name}"
        with StreamClient(live, (topic,), key=f"{name}+{name}") as stream:
            stream.subscribed()
            event = {"topic": topic, "data": {"n": 1}}
            assert publish(live, f"pia+{name}+till", event).status == 200
            assert stream.receive_on(topic)["data"] == {"n": 1}
            publish(live, f"pia+{name}+till", event | {"username": name, "data": "personal"})
            assert stream.receive_on(topic)["stream"] == "addressed"
        for key in (f"pia+{name}", "pia+books+till"):
            answer = publish(live, key, event)
            assert (answer.status, answer.body["field"]) == (403, "topic")
        assert request(f"{live}/api/events?topic=shop:books&key=pat%2Btoys").status == 403
        assert request(f"{live}/api/events?topic=shop:toys").status == 401
        page = history(live, name, "addressed")
        assert [each["data"] for each in page.body["events"]] == ["personal"]
        assert history(live, f"quin+{name}", "addressed").body["events"] == []
        cookie = {"Cookie": f"shop=pia+{name}+till", "Origin": "http://evil.example"}
        assert request(f"{live}/api/events", data=event, **cookie).status == 403
        large = publish(live, f"pia+{name}+till", event | {"data": "x" * 15_000_000})
        assert large.status == 413

    def test_hooks_know_event_streams(self, shop: HostApp) -> None:
        with StreamClient(f"{shop.url}/live", ("shop:toys",), key="ron+toys") as stream:
            stream.receive_until(lambda m: m.get("type") == "greeting", "the greeting")
        expected = [
            ["connect", "ron"],
            ["subscribe", "ron", "shop:toys"],
            ["unsubscribe", "ron", "shop:toys"],
            ["disconnect", "ron"],
        ]

        def is_told() -> bool:
            shop.request("/emit/shop:toys", 2)  # Some servers notice the end when they write.
            return happened_to(shop, "ron") == expected

        wait_for(is_told, "the hooks are called")


class TestAcknowledged:
    def test_a_handler_may_wait_for_the_relay_and_repeat_itself(
        self, cluster: Cluster, door: HostApp
    ) -> None:
        ids = {door.request("/emit/event:sold?once=order-42", {"n": 1})[1]["id"] for _ in range(3)}
        assert len(ids) == 1
        edge = cluster.start_edge()
        page = whole_history(cluster, edge.url, cluster.token("ann"), "event", topic="event:sold")
        assert [each["data"] for each in page.body["events"]] == [{"n": 1}]
        edge.process.terminate()


class TestDecisions:
    def test_a_renewed_key_ends_what_it_no_longer_allows(self, door: HostApp) -> None:
        with door.connect("key=hal%2Bbooks%2Btoys") as client:
            client.subscribe("shop:books")
            client.subscribe("shop:toys")
            client.send({"action": "authenticate", "token": "hal+toys", "id": 1})
            ended = client.receive_until(lambda m: m.get("code") == "forbidden", "the end of one")
            assert ended["topic"] == "shop:books"
            door.request("/emit/shop:books", 1)
            door.request("/emit/shop:toys", 2)
            assert client.receive_on("shop:toys")["data"] == 2
            assert not [m for m in client.received if m.get("data") == 1]

    def test_another_user_cannot_take_a_connection_over(self, door: HostApp) -> None:
        with door.connect("key=ida") as client:
            client.receive_until(lambda m: m.get("type") == "greeting", "the greeting")
            client.ask({"action": "unsubscribe", "topic": "shop:x"})
            client.send({"action": "authenticate", "token": "ivo"})
            assert client.wait_closed() == (1008, "Invalid token")

    def test_a_function_that_fails_allows_nothing_and_is_logged(self, door: HostApp) -> None:
        assert refusal(door, "key=broken")[0] == 500
        with door.connect("key=jim%2Bbroken%2Bbooks") as client:
            reply = client.ask({"action": "subscribe", "topic": "shop:broken", "id": 1})
            assert reply["code"] == "forbidden"
            client.send({"action": "fail"})
            client.subscribe("shop:books")
        assert "authenticate has failed" in door.process.output()
        assert "authorize has failed" in door.process.output()
        assert "the hook is broken" in door.process.output()

    def test_requests_are_answered_in_their_order(self, door: HostApp) -> None:
        with door.connect("key=kim%2Ba") as client:
            for number in range(50):
                topic = "shop:a" if number % 2 else "not a topic"
                client.send({"action": "subscribe", "topic": topic, "id": number})
            client.receive_until(lambda m: m.get("id") == 49, "the last reply")
            answered = [m["id"] for m in client.received if "status" in m]
            assert answered == list(range(50))

    def test_the_calls_of_a_connection_manager(self, door: HostApp) -> None:
        with door.connect("key=pia%2Bstock") as client:
            greeting = client.receive_until(lambda m: m.get("type") == "greeting", "the greeting")
            client.subscribe("shop:stock")
            status, answers = door.request(f"/manager/{greeting['client']}", method="POST")
            assert (status, answers[0]) == (200, True)
            direct = client.receive_until(lambda m: m.get("type") == "stock", "what it was sent")
            assert direct == {"type": "stock", "topic": "note:9", "data": {"n": 1}}
            # Streams and live topics arrive in any order.
            events: dict[str, Any] = {}
            while events.keys() != {"shop:stock", "note:9", "notice"}:
                message = client.receive_until(lambda m: "emitted_at" in m, "the events")
                events[message["topic"]] = message
            assert events["shop:stock"]["type"] == events["note:9"]["type"] == "stock"
            assert events["note:9"]["stream"] == events["notice"]["stream"] == "addressed"
            assert events["notice"]["data"] == "no topic"
        assert door.request("/manager/unknown", method="POST")[1][0] is False

    def test_one_user_has_the_subscriptions_of_each_connection_apart(self, door: HostApp) -> None:
        with door.connect("key=leo%2Ba") as first, door.connect("key=leo%2Bb") as second:
            first.subscribe("shop:a")
            assert second.ask({"action": "subscribe", "topic": "shop:a"})["status"] == "error"
            second.subscribe("shop:b")


def test_two_workers_deliver_everything_to_everybody(cluster: Cluster, stack: ExitStack) -> None:
    shop = serve(cluster, SHOP, workers=2)
    clients = [stack.enter_context(shop.subscribed("shop:all", "key=mia%2Ball")) for _ in range(12)]
    for number in range(200):
        shop.request("/emit/shop:all", number)
        # A live topic: only what was received is not replaced by the next.
        for client in clients:
            assert client.receive_on("shop:all")["data"] == number


@pytest.mark.parametrize("root_path", ["", "/mall"])
def test_at_the_root_the_edge_leaves_earlier_routes_alone(cluster: Cluster, root_path: str) -> None:
    shop = serve(cluster, SHOP, prefix=root_path, SHOP_PREFIX="", SHOP_ROOT_PATH=root_path)
    with shop.connect("key=nik%2Ba") as client:
        client.subscribe("shop:a")
        again = client.ask({"action": "authenticate", "token": "nik+a", "id": 1})
        assert again["status"] == "success"
    assert shop.request(f"{root_path}/healthz")[0] == 200


@pytest.mark.parametrize("server", ["front door", "uvicorn"])
@pytest.mark.parametrize("way", ["installed", "by_hand", "mounted", "standalone"])
def test_every_way_into_an_application(cluster: Cluster, server: str, way: str) -> None:
    """Also without its lifespan: then the first request starts the edge."""
    app = serve(cluster, f"tests.apps.plain:{way}", server)
    with app.connect(f"token={cluster.token('ann')}") as client:
        client.subscribe("event:*")
        cluster.emitter(f"for-{way}-{server}").emit("event:hello", {"way": way})
        assert client.receive_on("event:hello")["data"] == {"way": way}
    app.process.terminate()
    assert "Traceback" not in app.process.output()
    assert "destroyed" not in app.process.output()
