"""The conversation on `/ws` between real processes, answer by answer (protocol section 7)."""

import http.cookiejar
import json
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus

from edge.http.users import UsersFile
from tests.support.clients import Client
from tests.support.cluster import Cluster, Edge


@pytest.fixture(scope="module", params=["front door", "uvicorn", "hypercorn", "granian"])
def shared_edge(request: pytest.FixtureRequest, shared_cluster: Cluster) -> Edge:
    """An edge on its own server, and on servers that know only ASGI."""
    if request.param == "front door":
        return shared_cluster.start_edge()
    return shared_cluster.start_plain_edge(request.param)


def ws_url(edge: Edge, query: str = "") -> str:
    return f"ws://127.0.0.1:{edge.port}/ws{query}"


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        ("{", {"message": "Invalid JSON."}),
        ("[1]", {"message": "A JSON object is required."}),
        ("{}", {"message": "Action and topic are required."}),
        (
            '{"action":"subscribe","id":1}',
            {"message": "Action and topic are required.", "code": "bad_request", "id": 1},
        ),
        (
            '{"action":"foo","topic":"event:x","id":"7"}',
            {"message": "Unknown action: 'foo'", "code": "unknown_action", "id": "7"},
        ),
        (
            '{"action":"subscribe","topic":"X"}',
            {"message": "Invalid topic: 'X'"},
        ),
        (
            '{"action":"subscribe","topic":"task:1","id":3}',
            {"message": "Not allowed to subscribe to topic 'task:1'", "code": "forbidden", "id": 3},
        ),
        (
            '{"action":"subscribe","topic":"event:x","id":[1]}',
            {"message": "An id is text or a number.", "code": "bad_request"},
        ),
    ],
)
def test_bad_messages_are_answered_and_keep_the_connection(
    shared_cluster: Cluster, shared_edge: Edge, sent: str, answer: dict[str, object]
) -> None:
    client = shared_cluster.connect(shared_edge, "alice")
    assert client.ask(sent) == {"status": "error", **answer}
    assert client.subscribe("event:still_here")["message"] == (
        "Subscribed to topic 'event:still_here'"
    )


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        ("hello", "Missing authentication message"),
        ("{}", "Missing authentication message"),
        ('{"action":"subscribe","topic":"event:x"}', "Missing authentication message"),
        ('{"action":"authenticate"}', "Missing token"),
        ('{"action":"authenticate","token":""}', "Missing token"),
        ('{"action":"authenticate","token":"nonsense"}', "Invalid token"),
        ('{"action":"authenticate","token":5}', "Invalid token"),
    ],
)
def test_a_first_message_that_does_not_authenticate_closes_with_1008(
    shared_cluster: Cluster, shared_edge: Edge, first: str, reason: str
) -> None:
    client = shared_cluster.connect(shared_edge)
    client.send(first)
    assert client.wait_closed() == (1008, reason)


def test_silence_closes_with_authentication_timeout(cluster: Cluster) -> None:
    cluster.start_relay()
    edge = cluster.start_edge(EDGE_AUTHENTICATION_TIMEOUT_S="0.3")
    assert cluster.connect(edge).wait_closed() == (1008, "Authentication timeout")


@pytest.mark.parametrize("how", ["query", "header"])
def test_a_bad_token_in_the_handshake_is_refused_with_401(shared_edge: Edge, how: str) -> None:
    query = "?token=nonsense" if how == "query" else ""
    headers = {"header": "Bearer nonsense"}
    with pytest.raises(InvalidStatus) as refused:
        Client(
            ws_url(shared_edge, query),
            additional_headers={"Authorization": headers[how]} if how in headers else {},
        )
    assert refused.value.response.status_code == 401
    assert json.loads(refused.value.response.body or b"") == {"detail": "Invalid token"}
    assert "Traceback" not in shared_edge.process.output()


def test_an_expired_token_is_refused_and_a_running_one_closes_with_4001(
    shared_cluster: Cluster, shared_edge: Edge
) -> None:
    with pytest.raises(InvalidStatus):
        Client(ws_url(shared_edge, f"?token={shared_cluster.token('alice', ttl_s=-5)}"))
    client = Client(ws_url(shared_edge, f"?token={shared_cluster.token('alice', ttl_s=2)}"))
    assert client.wait_closed() == (4001, "token expired")


def test_authenticate_again_renews_for_the_same_user_only(
    shared_cluster: Cluster, shared_edge: Edge
) -> None:
    client = Client(ws_url(shared_edge, f"?token={shared_cluster.token('alice', ttl_s=3)}"))
    reply = client.ask({"action": "authenticate", "token": shared_cluster.token("alice"), "id": 1})
    assert reply["message"] == "Authenticated successfully"
    assert (reply["username"], reply["id"]) == ("alice", 1)
    client.send({"action": "authenticate", "token": shared_cluster.token("bob")})
    assert client.wait_closed() == (1008, "Invalid token")


def test_binary_bad_utf8_and_oversize_close_with_their_codes(cluster: Cluster, edge: Edge) -> None:
    binary = cluster.connect(edge, "alice")
    binary.send(b"\x00")
    assert binary.wait_closed()[0] == 1003
    bad_text = cluster.connect(edge, "alice")
    bad_text.send_as_text(b"\xff")
    assert bad_text.wait_closed()[0] == 1007
    large = cluster.connect(edge, "alice")
    large.send(json.dumps({"action": "subscribe", "topic": "event:" + "x" * 70_000}))
    assert large.wait_closed()[0] == 1009
    assert "Traceback" not in edge.process.output()


def test_too_many_messages_and_connections_close_with_their_codes(cluster: Cluster) -> None:
    cluster.start_relay()
    edge = cluster.start_edge(
        EDGE_MESSAGE_BURST="5", EDGE_MESSAGES_PER_S="1", EDGE_MAX_CONNECTIONS_PER_USER="2"
    )
    talker = cluster.connect(edge, "alice")
    for _ in range(6):
        talker.send({"action": "subscribe", "topic": "event:x"})
    assert talker.wait_closed() == (4029, "too many messages")
    for _ in range(2):
        cluster.connect(edge, "bob").subscribe("event:x")
    assert cluster.connect(edge, "bob").wait_closed() == (4009, "too many connections")


def test_without_a_relay_clients_are_sent_away_with_4013(cluster: Cluster) -> None:
    edge = cluster.start_edge(ready=False)
    client = cluster.connect(edge, "alice")
    assert client.wait_closed() == (4013, "the relay's heartbeat is missing, retry in 1 s")
    assert edge.status("/healthz") == 200
    assert edge.status("/readyz") == 503


def test_stopping_the_edge_closes_with_1001_and_ends_well(cluster: Cluster, edge: Edge) -> None:
    client = cluster.connect(edge, "alice")
    client.subscribe("event:x")
    edge.process.signal(15)
    assert client.wait_closed() == (1001, "edge is shutting down")
    assert edge.process.terminate() == 0


def test_a_message_matched_by_several_subscriptions_arrives_once(
    shared_cluster: Cluster, shared_edge: Edge
) -> None:
    client = shared_cluster.connect(shared_edge, "alice")
    for topic in ("event:after_backup", "event:after_*", "event:*", "*"):
        client.subscribe(topic)
    emitter = shared_cluster.emitter(f"manager-{shared_edge.port}")
    emitter.emit("event:after_backup", {"n": 1})
    came = client.drain_until(lambda: emitter.emit("event:marker", {}))
    assert [message["data"] for message in came] == [{"n": 1}]
    unsubscribed = client.ask({"action": "unsubscribe", "topic": "*"})
    assert unsubscribed["message"] == "Unsubscribed from topic '*'"


def test_positions_are_told_by_subscribe_and_from_time_to_time(cluster: Cluster) -> None:
    cluster.start_relay()
    edge = cluster.start_edge(EDGE_POSITION_INTERVAL_S="0.5")
    client = cluster.connect(edge, "alice")
    assert client.subscribe("event:x")["position"] == {"event": 0}
    emitter = cluster.emitter()
    emitter.emit("event:x", {})
    event = client.receive_on("event:x")
    assert event["offset"] == 1
    position = client.receive_until(
        lambda message: message.get("type") == "position" and message["position"].get("event") == 1,
        "a position message",
    )
    assert position["epoch"] == client.subscribe("event:y")["epoch"]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_tokens_are_not_logged(cluster: Cluster, workers: str) -> None:
    cluster.start_relay()
    edge = cluster.start_edge(EDGE_WORKERS=workers)
    token = cluster.token("alice")
    Client(ws_url(edge, f"?token={token}")).close()
    with pytest.raises(InvalidStatus):
        Client(ws_url(edge, f"?token={token}x"))
    assert token not in edge.process.output()


class TestSignIn:
    """`POST /auth/token` and the cookie, with a real users file."""

    @pytest.fixture
    def signed_in_edge(self, cluster: Cluster) -> Edge:
        UsersFile(Path(cluster.env["EDGE_DATA_DIR"]) / "users.json").add("alice", "correct horse")
        cluster.start_relay()
        return cluster.start_edge()

    def sign_in(self, edge: Edge, password: str) -> tuple[dict[str, object], str]:
        """Return the reply and the cookie."""
        jar = http.cookiejar.CookieJar()
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
        form = urllib.parse.urlencode({"username": "alice", "password": password}).encode()
        with opener.open(f"{edge.url}/auth/token", form, timeout=10) as response:
            reply = json.load(response)
        [cookie] = jar
        assert cookie.name == f"access_token_cookie_{edge.port}"
        assert cookie.has_nonstandard_attr("HttpOnly")
        assert cookie.get_nonstandard_attr("SameSite") == "strict"
        return reply, f"{cookie.name}={cookie.value}"

    def test_the_wrong_password_is_401_and_the_right_one_a_token(
        self, signed_in_edge: Edge
    ) -> None:
        with pytest.raises(urllib.error.HTTPError) as refused:
            self.sign_in(signed_in_edge, "wrong")
        assert refused.value.code == 401
        assert json.load(refused.value) == {"detail": "Incorrect username or password"}
        reply, _ = self.sign_in(signed_in_edge, "correct horse")
        client = Client(ws_url(signed_in_edge, f"?token={reply['access_token']}"))
        client.subscribe("event:x")
        client.close()

    def test_the_cookie_counts_on_the_edges_own_pages_only(self, signed_in_edge: Edge) -> None:
        edge = signed_in_edge
        _, cookie = self.sign_in(edge, "correct horse")
        own = Client(ws_url(edge), additional_headers={"Cookie": cookie}, origin=edge.url)
        own.subscribe("event:x")
        reply = own.ask({"action": "authenticate", "token": ""})
        assert (reply["status"], reply["username"]) == ("success", "alice")
        own.close()
        foreign = Client(
            ws_url(edge), additional_headers={"Cookie": cookie}, origin="https://evil.example"
        )
        foreign.send({"action": "authenticate", "token": ""})
        assert foreign.wait_closed() == (1008, "Missing token")
