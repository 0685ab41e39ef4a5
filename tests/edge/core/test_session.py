"""The dialogue on `/ws`: every reply text and every close reason, to the letter."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core.catch_up.connection_catch_up import ConnectionCatchUp
from edge.core.hub.connections import ConnectionManager
from edge.core.hub.subscription_quota import QuotaLimits, SubscriptionQuota
from edge.core.identity.access import Identity, KindAccess
from edge.core.identity.tokens import InvalidToken, Tokens
from edge.core.protocol.reading import MAX_REQUEST_ID_CHARS
from edge.core.protocol.replies import MAX_SHOWN_CHARS
from edge.core.protocol.requests import PersonalPosition
from edge.core.session import (
    Session,
    SessionLimits,
    SessionServices,
    Visitor,
)
from edge.core.streams.last_values import LastValue, LastValues
from edge.core.streams.record import Record
from edge.core.streams.snapshots import Snapshots
from edge.core.streams.streams import Streams
from edge.core.streams.task_board import TaskBoard
from edge.core.websocket.close_codes import Close
from edge.core.websocket.frames import text_frame
from relay.wire.envelope import Envelope
from relay.wire.header import Stamp
from relay.wire.kinds import Kind, Kinds
from tests.edge.journal import record
from tests.edge.recorders import RecordingActions, RecordingConnection, RecordingObserver
from tests.relay.wire.strategies import any_text, json_values
from tests.relay.wire.vectors import case_name, vectors

VECTORS = vectors("messages")
NOW = 1_789_000_000.0
EXPIRES_AT = 1_790_000_000
TOKENS = Tokens("s" * 32)
NOT_A_TASK = {"status": "error", "message": "Not allowed to subscribe to topic 'task:1'"}
INVALID_TOKEN = Close(1008, "Invalid token")
MISSING_TOKEN = Close(1008, "Missing token")
MISSING_AUTHENTICATION = Close(1008, "Missing authentication message")
TOO_MANY_MESSAGES = Close(4029, "too many messages")
TASKS_FROM_HERE = {"type": "position", "epoch": 1, "position": {"task": 77}}
"""The message to every admitted client."""
TOO_MANY_CONNECTIONS = Close(4009, "too many connections")


class Table:
    """A session and all its collaborators."""

    def __init__(
        self,
        *,
        cookie: str | None = None,
        burst: int = 1000,
        max_subscriptions: int = 100,
        max_connections_per_user: int = 100,
        quota: QuotaLimits | None = None,
    ) -> None:
        self.actions = RecordingActions()
        self.interest = RecordingObserver()
        self.manager = ConnectionManager(self.interest, quota=SubscriptionQuota(quota))
        self.streams = Streams()
        self.streams.synchronize(1, {"event": 1042, "task": 77}, {"event": 1, "task": 1})
        self.catch_ups: list[ConnectionCatchUp] = []
        """The running catch-ups, which the test steps."""
        self.tasks, self.live = TaskBoard(), LastValues()
        self.tasks.begin_epoch(1)
        self.services = SessionServices(
            self.manager,
            self.streams,
            Snapshots(self.manager, self.streams, self.tasks, self.live),
            KindAccess(Kinds()),
            TOKENS,
            SessionLimits(10.0, burst, max_subscriptions, max_connections_per_user),
            self.actions,
        )
        self.connection = RecordingConnection("nobody yet")
        self.session = self.open(self.connection, cookie)

    def open(
        self,
        connection: RecordingConnection,
        cookie: str | None = None,
        since: PersonalPosition | None = None,
    ) -> Session:
        """Return another client of the same edge."""
        cookies = () if cookie is None else (cookie,)
        try:
            by_cookie = TOKENS.first_valid(cookies, NOW)
        except InvalidToken:
            by_cookie = None
        visitor = Visitor(None, cookies, since, by_cookie)
        return Session(connection, self.services, self.catch_ups.append, visitor, NOW)

    def show_task(self, task: int, username: str = "alice") -> None:
        """Add an unfinished task to the edge."""
        envelope = Envelope("task_update", {"task": task}, username, "m", 1, "x")
        frame = text_frame(json.dumps({"task": task}).encode())
        self.tasks.update(f"task:{task}", Stamp(1, task, 1), envelope, frame)

    def say(self, message: object, now: float = NOW) -> list[dict[str, Any]]:
        """Send a message that must not end the connection; return the replies."""
        text = message if isinstance(message, str) else json.dumps(message)
        assert receive(self.session, text, now) is None
        return self.connection.take()

    def subscribe(self, topic: str, **more: object) -> dict[str, Any]:
        """Return the reply with all fields; without an `id` unless `more` has one."""
        (reply,) = self.say({"action": "subscribe", "topic": topic, "id": "full", **more})
        return reply if "id" in more else {k: v for k, v in reply.items() if k != "id"}

    def settle(self) -> list[dict[str, Any]]:
        """Replay the missing records of the catch-ups; return the messages that are no events."""
        for catch_up in self.catch_ups:
            records: list[Record] = []
            while not (result := catch_up.step(records)).state.is_final:
                after, limit = result.missing[1:] if result.missing else (0, 0)
                records = [record(after + number) for number in range(1, limit + 1)]
        self.catch_ups.clear()
        return [message for message in self.connection.take() if "offset" not in message]

    def topics(self) -> list[str]:
        """The subscriptions of the client."""
        return sorted(map(str, self.manager.subscriptions(self.connection)))


def receive(session: Session, text: str, now: float) -> Close | None:
    """Count a message, then act on it."""
    return session.count_message(now) or session.act_on(text, now, now)


def token(
    username: str = "alice", role: str = "user", expires_at: int = EXPIRES_AT, secret: str = "s"
) -> str:
    return Tokens(secret * 32).issue(username, role, expires_at)


def authenticate(token_text: object, **more: object) -> str:
    return json.dumps({"action": "authenticate", "token": token_text, "id": "a", **more})


def subscribe_since(topic: str, offset: int) -> dict[str, Any]:
    past = {"since": {"event": offset}, "epoch": 1}
    return {"action": "subscribe", "topic": topic, "id": "s", **past}


def admitted(role: str = "user", **options: Any) -> Table:
    table = Table(**options)
    assert table.session.admit(Identity("alice", role, EXPIRES_AT), NOW, NOW) is None
    assert table.connection.take() == [TASKS_FROM_HERE]
    return table


def position_told(table: Table) -> dict[str, int]:
    """Return the position that a client is told now."""
    table.session.tell_position()
    (message,) = table.connection.take()
    position: dict[str, int] = message["position"]
    return position


# Before authentication.


@pytest.mark.parametrize("case", VECTORS["closes_before_authentication"], ids=case_name)
def test_vector_closes_before_authentication(case: dict[str, Any]) -> None:
    table = Table()
    assert receive(table.session, case["send"], NOW) == Close(**case["close"])
    assert table.connection.take() == []
    assert len(table.manager) == 0


@pytest.mark.parametrize(
    "wrong",
    [
        token(expires_at=int(NOW)),
        token(secret="x"),
        token()[:-2],
        token() + "x" * 5000,
        True,
        17,
        {"a": 1},
    ],
)
def test_a_token_that_is_not_valid_closes_the_connection(wrong: object) -> None:
    table = Table()
    assert receive(table.session, authenticate(wrong), NOW) == INVALID_TOKEN
    assert table.session.identity is None


def test_an_id_of_the_wrong_type_before_authentication_closes() -> None:
    table = Table()
    text = authenticate(token(), id=[])
    assert receive(table.session, text, NOW) == MISSING_AUTHENTICATION


def test_a_valid_token_is_welcomed_with_username_and_expiry() -> None:
    table = Table()
    assert table.say(authenticate(token(), id="x")) == [
        {
            "status": "success",
            "message": "Authenticated successfully",
            "action": "authenticate",
            "username": "alice",
            "expires_at": EXPIRES_AT,
            "expires_in": EXPIRES_AT - int(NOW),
            "id": "x",
        },
        TASKS_FROM_HERE,
    ]
    assert table.session.identity == Identity("alice", "user", EXPIRES_AT)
    assert table.connection.identity == table.session.identity
    assert list(table.manager) == [table.connection]


@pytest.mark.parametrize("empty", [{"token": ""}, {"token": None}, {}])
def test_no_token_means_the_cookie(empty: dict[str, Any]) -> None:
    table = Table(cookie=token("bob"))
    assert table.say({"action": "authenticate", "id": 1, **empty})[0]["username"] == "bob"


def test_an_empty_token_with_a_wrong_cookie_is_invalid() -> None:
    table = Table(cookie="nonsense")
    assert receive(table.session, authenticate(""), NOW) == INVALID_TOKEN


@pytest.mark.parametrize("named", [False, True])
def test_a_token_in_the_first_message_wins_over_the_cookie(named: bool) -> None:
    """Also after the client was taken for the user of its cookie, because it said nothing."""
    table = Table(cookie=token("bob"))
    table.show_task(1, "bob")
    table.show_task(2, "alice")
    if named:
        assert table.session.admit_by_cookie(NOW, NOW) is None
        assert table.connection.take() == [{"task": 1, "retained": True}, TASKS_FROM_HERE]
    reply, *state = table.say(authenticate(token("alice")))
    assert (reply["message"], reply["username"]) == ("Authenticated successfully", "alice")
    assert state == [{"task": 2, "retained": True}, TASKS_FROM_HERE]
    assert table.session.identity == Identity("alice", "user", EXPIRES_AT)
    assert list(table.manager.users) == ["alice"]
    assert [*table.manager.personal_receivers("alice")] == [table.connection]
    assert not table.manager.personal_receivers("bob"), "nothing of bob follows"
    assert table.session.admit_by_cookie(NOW, NOW) is None
    assert table.connection.identity.username == "alice"
    assert table.subscribe("event:a")["status"] == "success"


def test_only_the_first_message_may_name_another_user_than_the_cookie() -> None:
    table = Table(cookie=token("bob"))
    assert len(table.say({"action": "subscribe", "topic": "event:a"})) == 2
    assert receive(table.session, authenticate(token("alice")), NOW) == INVALID_TOKEN
    assert table.connection.identity.username == "bob"


def test_a_first_message_of_another_kind_is_that_of_the_cookies_user() -> None:
    table = Table(cookie=token("bob"))
    table.show_task(1, "bob")
    state, position, reply = table.say({"action": "subscribe", "topic": "event:a"})
    assert (state, position) == ({"task": 1, "retained": True}, TASKS_FROM_HERE)
    assert reply == {"status": "success", "message": "Subscribed to topic 'event:a'"}


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"action":"authenticate","id":[]}'])
def test_a_first_message_that_is_not_understood_keeps_the_cookies_user(text: str) -> None:
    table = Table(cookie=token("bob"))
    *_, reply = table.say(text)
    assert reply["status"] == "error"
    assert list(table.manager.users) == ["bob"]


def test_an_invalid_token_in_the_first_message_closes_in_spite_of_the_cookie() -> None:
    table = Table(cookie=token("bob"))
    assert receive(table.session, authenticate("x"), NOW) == INVALID_TOKEN


def test_a_client_of_a_cookie_may_be_one_too_many() -> None:
    table = Table(cookie=token("bob"), max_connections_per_user=1)
    bob = Identity("bob", "user", EXPIRES_AT)
    assert table.open(RecordingConnection("bob")).admit(bob, NOW, NOW) is None
    assert receive(table.session, "{}", NOW) == TOO_MANY_CONNECTIONS


def test_while_a_catch_up_runs_the_cookies_user_stays() -> None:
    table = Table()
    since = PersonalPosition(1, {"task": 70})
    table.session = table.open(table.connection, token("bob"), since)
    assert table.session.admit_by_cookie(NOW, NOW) is None
    assert len(table.catch_ups) == 1
    assert receive(table.session, authenticate(token("alice")), NOW) == INVALID_TOKEN


# Admission.


def test_unfinished_tasks_are_shown_on_admission() -> None:
    table = Table()
    table.show_task(1)
    table.show_task(2)
    table.show_task(3, "bob")
    shown = [{"task": 1, "retained": True}, {"task": 2, "retained": True}]
    assert table.session.admit(Identity("alice", "user", EXPIRES_AT), NOW, NOW) is None
    assert table.connection.take() == [*shown, TASKS_FROM_HERE]


def test_the_welcome_comes_before_unfinished_tasks() -> None:
    table = Table()
    table.show_task(1)
    replies = table.say(authenticate(token()))
    told = [reply.get("action") or reply.get("type", "task") for reply in replies]
    assert told == ["authenticate", "task", "position"]


def test_a_user_has_a_limited_number_of_connections() -> None:
    table = Table(max_connections_per_user=2)
    alice = Identity("alice", "user", EXPIRES_AT)
    admissions = [table.open(RecordingConnection()).admit(alice, NOW, NOW) for _ in range(3)]
    assert admissions == [None, None, TOO_MANY_CONNECTIONS]
    assert len(table.manager) == 2
    bob = Identity("bob", "user", EXPIRES_AT)
    assert table.open(RecordingConnection("bob")).admit(bob, NOW, NOW) is None
    assert receive(table.session, authenticate(token()), NOW) == TOO_MANY_CONNECTIONS


@pytest.mark.parametrize(("seconds", "expired"), [(-1, False), (0, True), (1, True)])
def test_a_session_ends_with_its_token(seconds: int, expired: bool) -> None:
    assert admitted().session.is_expired(EXPIRES_AT + seconds) is expired


def test_a_session_without_token_does_not_expire() -> None:
    assert not Table().session.is_expired(EXPIRES_AT + 1)


# Requests.


@pytest.mark.parametrize("case", VECTORS["replies_to_user"], ids=case_name)
def test_vector_reply(case: dict[str, Any]) -> None:
    table = admitted()
    assert table.say(case["send"].replace("<token>", token())) == [case["reply"]]


@pytest.mark.parametrize("request_id", ["", "x" * MAX_REQUEST_ID_CHARS, 0, -1, 1.5, 2**63, "ü🎉"])
def test_an_id_is_echoed_in_success_and_error(request_id: object) -> None:
    table = admitted()
    assert table.subscribe("event:a", id=request_id)["id"] == request_id
    assert table.subscribe("task:1", id=request_id)["id"] == request_id


def test_without_an_id_none_is_echoed() -> None:
    assert "id" not in admitted().subscribe("event:a", id=None)


@pytest.mark.parametrize("request_id", [[], {}, "x" * (MAX_REQUEST_ID_CHARS + 1)])
def test_an_id_of_the_wrong_kind_is_refused(request_id: object) -> None:
    table = admitted()
    reply = table.subscribe("event:a", id=request_id)
    assert (reply["status"], reply["code"]) == ("error", "bad_request")
    assert table.topics() == []


def test_long_words_of_a_client_are_shortened_in_errors() -> None:
    long = "x" * (MAX_SHOWN_CHARS + 1)
    table = admitted()
    assert table.subscribe(long)["message"] == f"Invalid topic: '{long[:-1]}…'"
    (reply,) = table.say({"action": long, "topic": "event:a"})
    assert reply["message"] == f"Unknown action: '{long[:-1]}…'"


@pytest.mark.parametrize(
    ("more", "recovered"),
    [
        ({"since": {"event": 1042}, "epoch": 1}, True),
        ({"since": {"event": 1042, "nonsense": 5}, "epoch": 1, "more": False}, True),
        ({"since": {}, "epoch": 1}, True),
        ({"since": {"event": 1040}, "epoch": 2}, False),
    ],
)
def test_a_client_that_asks_for_the_past_is_told_whether_it_has_it(
    more: Any, recovered: bool
) -> None:
    table = admitted()
    assert table.subscribe("event:a", **more)["recovered"] is recovered
    assert table.catch_ups == [], "there was nothing to wait for"


@pytest.mark.parametrize("more", [{}, {"since": None}, {"last": None, "epoch": 1}])
def test_a_client_that_does_not_ask_is_told_nothing_of_the_past(more: Any) -> None:
    assert "recovered" not in admitted().subscribe("event:a", **more)


def test_a_client_with_a_past_is_answered_when_it_has_it() -> None:
    table = admitted()
    assert table.say(subscribe_since("event:a", 1000)) == []
    assert position_told(table) == {}
    assert table.say({"action": "foo", "topic": "event:b", "id": 2}) == []
    replies = table.settle()
    assert [reply.get("recovered", reply.get("id")) for reply in replies] == [True, 2]
    assert position_told(table) == {"event": 1042, "task": 77}


@pytest.mark.parametrize(
    "closing",
    [
        {"action": "subscribe", "topic": "event:b"},
        {"action": "subscribe", "topic": "task:1"},
        {"action": "subscribe", "topic": "x"},
        {"action": "subscribe"},
        {"action": "subscribe", "topic": "event:b", "last": 0},
        {"action": "subscribe", "topic": "event:b", "id": {}},
    ],
)
def test_a_subscribe_without_more_starts_the_catch_up_whatever_its_outcome(closing: Any) -> None:
    table = admitted()
    table.say(subscribe_since("event:a", 1000) | {"more": True})
    table.say({"action": "unsubscribe", "topic": "event:c", "id": 2})
    assert table.catch_ups == []
    assert table.say(closing) == []
    first, second, third = table.settle()
    assert (first["topic"], first["recovered"]) == ("event:a", True)
    assert second["action"] == "unsubscribe"
    assert "recovered" not in third


def test_too_many_requests_behind_a_catch_up_close_the_connection() -> None:
    table = admitted(burst=10)
    table.say(subscribe_since("event:a", 1000))
    closes = [
        receive(table.session, '{"action":"subscribe","topic":"event:b"}', NOW + second)
        for second in range(20)
    ]
    # Each waits as two entries; 20 may wait when the next message comes.
    assert closes.index(TOO_MANY_MESSAGES) == 11


def test_too_large_requests_behind_a_catch_up_close_the_connection() -> None:
    """Each names thousands of streams that do not exist, and waits."""
    table = admitted()
    table.say(subscribe_since("event:a", 1000))
    large = json.dumps(
        {
            "action": "subscribe",
            "topic": "event:b",
            "since": {str(number): 0 for number in range(6000)},
            "epoch": 1,
        }
    )
    closes = [receive(table.session, large, NOW) for _ in range(20)]
    assert closes[0] is None
    assert closes[-1] == TOO_MANY_MESSAGES


def test_a_live_topic_is_answered_with_its_last_value() -> None:
    table = admitted()
    for name in ("a", "b"):
        table.live.keep(f"resource-monitor:{name}", LastValue(1, None, name.encode()))
    reply = table.subscribe("resource-monitor:a")
    assert reply["status"] == "success"
    assert table.connection.live == [("resource-monitor:a", b"a")]


def test_a_refused_subscription_is_not_answered_with_values() -> None:
    table = admitted()
    table.live.keep("secret:a", LastValue(1, None, b"a"))
    assert table.subscribe("secret:a")["code"] == "forbidden"
    assert table.connection.live == []


def test_subscriptions_are_limited_but_may_be_repeated() -> None:
    table = admitted(max_subscriptions=2)
    assert table.subscribe("event:a")["status"] == "success"
    assert table.subscribe("event:b")["status"] == "success"
    assert table.subscribe("event:a")["status"] == "success"
    refused = table.subscribe("event:c", id=1)
    assert refused == {
        "status": "error",
        "message": "At most 2 subscriptions are allowed.",
        "code": "bad_request",
        "id": 1,
    }
    table.say({"action": "unsubscribe", "topic": "event:a"})
    assert table.subscribe("event:c")["status"] == "success"


@pytest.mark.parametrize(
    ("quota", "text"),
    [
        (QuotaLimits(per_user=2), "At most 2 subscriptions are allowed for one user."),
        (
            QuotaLimits(bytes_per_user=20),
            "The topics of one user's subscriptions may have at most 20 bytes.",
        ),
        (QuotaLimits(total=2), "This edge has no room for another subscription."),
        (QuotaLimits(total_bytes=20), "This edge has no room for another subscription."),
    ],
)
@pytest.mark.parametrize("more", [{}, {"since": {"event": 1042}, "epoch": 1}, {"last": 1}])
def test_the_subscriptions_of_a_user_are_limited_on_all_connections_together(
    quota: QuotaLimits, text: str, more: dict[str, object]
) -> None:
    table = admitted(quota=quota)
    other = RecordingConnection()
    session = table.open(other)
    receive(session, json.dumps({"action": "authenticate", "token": token()}), NOW)
    other.take()
    table.subscribe("event:a")
    receive(session, json.dumps({"action": "subscribe", "topic": "event:b"}), NOW)
    other.take()
    receive(session, json.dumps({"action": "subscribe", "topic": "event:c", "id": 5, **more}), NOW)
    (refused,) = other.take()
    assert refused == {
        "status": "error",
        "message": text,
        "code": "too_many_subscriptions",
        "id": 5,
    }
    assert table.topics() == ["event:a"], "nothing else is harmed"
    assert {str(each) for each in table.interest.selectors} == {"event:a", "event:b"}
    # Not a further one: the same again.
    receive(session, json.dumps({"action": "subscribe", "topic": "event:b"}), NOW)
    assert other.take()[0]["status"] == "success"
    table.manager.disconnect(table.connection)
    receive(session, json.dumps({"action": "subscribe", "topic": "event:c"}), NOW)
    assert other.take()[0]["status"] == "success", "there is room again"


def test_room_that_was_used_up_during_a_catch_up_refuses_its_subscription() -> None:
    table = admitted(quota=QuotaLimits(per_user=1))
    waiting = RecordingConnection()
    session = table.open(waiting)
    receive(session, json.dumps({"action": "authenticate", "token": token()}), NOW)
    waiting.take()
    receive(session, json.dumps(subscribe_since("event:a", 1041)), NOW)
    table.subscribe("event:b")
    table.settle()
    replies = [each for each in waiting.take() if "status" in each]
    assert [reply.get("code") for reply in replies] == ["too_many_subscriptions"]
    assert table.manager.quota.count == 1


def test_everything_is_what_the_role_may_see() -> None:
    table = admitted()
    table.subscribe("*")
    assert table.topics() == ["*"]
    assert {str(selector) for selector in table.interest.selectors} == {
        "event:*",
        "resource-monitor:*",
    }


def test_an_administrator_may_subscribe_to_any_kind() -> None:
    table = admitted("admin")
    assert table.subscribe("secret:x")["status"] == "success"
    assert table.subscribe("*")["position"] == {"event": 1042, "task": 77}


# The state of one task.


def test_its_owner_asks_for_the_state_of_a_task() -> None:
    table = admitted()
    table.show_task(1)
    reply, state = table.say({"action": "subscribe", "topic": "task:1", "id": 1})
    assert reply["message"] == "Subscribed to topic 'task:1'"
    assert (reply["position"], "recovered" in reply) == ({"task": 77}, False)
    assert state == {"task": 1, "retained": True}
    assert table.topics() == [], "updates come without a subscription"


def test_without_an_id_the_state_of_a_task_follows_two_fields() -> None:
    table = admitted()
    table.show_task(1)
    assert table.say({"action": "subscribe", "topic": "task:1"}) == [
        {"status": "success", "message": "Subscribed to topic 'task:1'"},
        {"task": 1, "retained": True},
    ]


@pytest.mark.parametrize("owner", ["bob", None])
def test_a_task_of_another_and_one_of_nobody_are_refused_alike(owner: str | None) -> None:
    table = admitted()
    if owner is not None:
        table.show_task(1, owner)
    assert table.say({"action": "subscribe", "topic": "task:1"}) == [NOT_A_TASK]


def test_unsubscribing_from_a_task_does_not_stop_its_updates() -> None:
    table = admitted()
    table.show_task(1)
    table.say({"action": "subscribe", "topic": "task:1"})
    (reply,) = table.say({"action": "unsubscribe", "topic": "task:1"})
    assert reply == {"status": "success", "message": "Unsubscribed from topic 'task:1'"}
    assert table.manager.send_to_user("alice", text_frame(b'{"task":1}')) == 1


@pytest.mark.parametrize("past", [{"last": 5}, {"since": {"task": 70}, "epoch": 1}])
def test_the_past_of_a_task_is_not_replayed(past: dict[str, Any]) -> None:
    table = admitted()
    table.show_task(1)
    reply, _state = table.say({"action": "subscribe", "topic": "task:1", "id": 1, **past})
    assert reply["recovered"] is False
    assert table.catch_ups == []


def test_a_task_waits_for_the_catch_up_that_is_gathered() -> None:
    table = admitted()
    table.show_task(1)
    table.say(subscribe_since("event:a", 1000) | {"more": True})
    assert table.say({"action": "subscribe", "topic": "task:1", "id": 2}) == []
    first, second, state = table.settle()
    assert [first["id"], second["id"], state] == ["s", 2, {"task": 1, "retained": True}]


def test_an_administrator_gets_the_state_of_a_task_of_its_own_only() -> None:
    table = admitted("admin")
    table.show_task(1)
    table.show_task(2, "bob")
    assert len(table.say({"action": "subscribe", "topic": "task:1"})) == 2
    assert len(table.say({"action": "subscribe", "topic": "task:2"})) == 1


# Renewal.


def test_the_same_user_renews_the_token_and_keeps_the_subscriptions() -> None:
    table = admitted()
    table.subscribe("event:a")
    (reply,) = table.say(authenticate(token(expires_at=EXPIRES_AT + 60)))
    assert (reply["action"], reply["expires_at"]) == ("authenticate", EXPIRES_AT + 60)
    assert table.topics() == ["event:a"]
    assert not table.session.is_expired(EXPIRES_AT + 59)
    assert len(table.manager) == 1


@pytest.mark.parametrize("jump_s", [-(10**6), 0, 40 * 86_400])
def test_a_clock_that_is_set_neither_ends_nor_extends_a_session(jump_s: int) -> None:
    """Neither the first token's time nor that of a renewal, which is read before the jump."""
    steady, unix = 1_000.0, NOW
    table = Table()
    first = Identity("alice", "user", int(unix) + 60)
    assert table.session.admit(first, steady, unix) is None
    # The steady clock goes on; the other is set, and nothing asks it.
    assert not table.session.is_expired(steady + 59)
    assert table.session.is_expired(steady + 60)
    unix += jump_s
    renewal = authenticate(token(expires_at=int(unix) + 90))
    assert table.session.act_on(renewal, steady + 59, unix) is None
    assert not table.session.is_expired(steady + 59 + 89)
    assert table.session.is_expired(steady + 59 + 90)


def test_renewal_does_not_count_as_another_connection() -> None:
    table = admitted(max_connections_per_user=1)
    assert table.say(authenticate(token()))[0]["status"] == "success"


def test_another_user_cannot_take_over_the_connection() -> None:
    table = admitted()
    assert receive(table.session, authenticate(token("bob")), NOW) == INVALID_TOKEN
    assert table.connection.take() == []
    assert table.connection.identity.username == "alice"


@pytest.mark.parametrize(
    ("message", "close"),
    [(authenticate("x"), INVALID_TOKEN), (authenticate(""), MISSING_TOKEN)],
)
def test_a_renewal_that_fails_closes_the_connection(message: str, close: Close) -> None:
    assert receive(admitted().session, message, NOW) == close


def test_a_lower_role_loses_what_it_may_not_see_and_is_told() -> None:
    table = admitted("admin")
    for topic in ("*", "secret:x", "event:a", "task:*"):
        table.subscribe(topic)
    welcome, *lost = table.say(authenticate(token(role="user")))
    assert welcome["status"] == "success"
    assert sorted(reply["message"] for reply in lost) == [
        "Not allowed to subscribe to topic 'secret:x': add [kinds.secret] with subscribe ="
        ' ["user"] to relay.toml',
        "Not allowed to subscribe to topic 'task:*'",
    ]
    assert {reply["code"] for reply in lost} == {"forbidden"}
    assert sorted(reply["topic"] for reply in lost) == ["secret:x", "task:*"]
    assert table.topics() == ["*", "event:a"]
    assert {str(selector) for selector in table.interest.selectors} == {
        "event:*",
        "resource-monitor:*",
        "event:a",
    }


def test_messages_that_cannot_be_read_are_answered_and_counted() -> None:
    table = admitted()
    [reply] = table.say(
        '{"action":"subscribe","topic":"event:a","id":7,"x":' + "[" * 64 + "]" * 64 + "}"
    )
    assert reply == {
        "status": "error",
        "message": "JSON may be nested at most 64 levels deep.",
        "code": "bad_request",
        "id": 7,
    }
    assert table.topics() == []
    [reply] = table.say("[" * 65 + "]" * 65)
    assert reply["message"] == "JSON may be nested at most 64 levels deep."
    [reply] = table.say('{"action":"subscribe","topic":"event:a","x":' + "[" * 63 + "]" * 63 + "}")
    assert reply["status"] == "success"
    for text in ("[]", "7", "{", ""):
        table.say(text)
    assert table.services.refused == {"too_deep": 2, "no_object": 2, "invalid_json": 2}


def test_other_rules_end_what_they_do_not_allow_when_it_is_told_of_them() -> None:
    table = admitted("user")
    for topic in ("*", "event:a", "resource-monitor:*"):
        table.subscribe(topic)
    assert isinstance(table.services.access, KindAccess)
    table.services.access.kinds = Kinds.with_built_in((Kind("event"),))
    assert table.topics() == ["*", "event:a", "resource-monitor:*"], "not before"
    table.session.recheck()
    [lost] = table.connection.take()
    assert lost == {
        "status": "error",
        "message": "Not allowed to subscribe to topic 'event:a': subscribe of [kinds.event] in"
        ' relay.toml lacks the role "user"',
        "code": "forbidden",
        "topic": "event:a",
    }
    assert table.topics() == ["*", "resource-monitor:*"]
    assert {str(each) for each in table.interest.selectors} == {"resource-monitor:*"}


def test_of_other_rules_a_client_without_a_user_hears_nothing() -> None:
    table = Table()
    table.session.recheck()
    assert table.connection.take() == []


def test_a_higher_role_widens_everything() -> None:
    table = admitted("user")
    table.subscribe("*")
    table.say(authenticate(token(role="admin")))
    assert {str(selector) for selector in table.interest.selectors} == {"*"}


# Rate.


def test_more_messages_than_the_burst_close_the_connection() -> None:
    table = admitted(burst=3)
    for _ in range(3):
        table.say({})
    assert receive(table.session, "{}", NOW) == TOO_MANY_MESSAGES


def test_the_allowance_comes_back_at_the_configured_rate() -> None:
    """10 messages a second."""
    table = admitted(burst=2)
    table.say({})
    table.say({})
    table.say({}, NOW + 0.101)
    assert receive(table.session, "{}", NOW + 0.15) == TOO_MANY_MESSAGES


def test_a_long_silence_gives_no_more_than_the_burst() -> None:
    table = admitted(burst=2)
    table.say({}, NOW + 1000)
    table.say({}, NOW + 1000)
    assert receive(table.session, "{}", NOW + 1000) == TOO_MANY_MESSAGES


def test_a_clock_that_is_set_back_gives_nothing() -> None:
    table = admitted(burst=1)
    table.say({})
    assert receive(table.session, "{}", NOW - 1000) == TOO_MANY_MESSAGES


def test_unauthenticated_messages_count_as_well() -> None:
    assert receive(Table(burst=0).session, authenticate(token()), NOW) == TOO_MANY_MESSAGES


# Anything.

requests = st.fixed_dictionaries(
    {},
    optional={
        "action": st.sampled_from(["subscribe", "unsubscribe", "authenticate", "x"]) | json_values,
        "topic": st.sampled_from(["event:a", "*", "task:*", "a*b"]) | any_text | json_values,
        "token": st.sampled_from(["", token(), token("bob")]) | json_values,
        "id": json_values,
        "since": st.just({"event": 1000}) | json_values,
        "epoch": st.sampled_from([0, 1]) | json_values,
        "last": st.integers(-1, 1001) | json_values,
    },
)


@given(st.booleans(), st.lists(any_text | requests.map(json.dumps), max_size=4))
def test_any_text_is_answered_with_json_or_closes_as_the_table_says(
    is_admitted: bool, texts: list[str]
) -> None:
    table = admitted() if is_admitted else Table()
    for number, text in enumerate(texts):
        close = receive(table.session, text, NOW)
        replies = table.settle()
        if close is not None:
            assert close in (MISSING_AUTHENTICATION, MISSING_TOKEN, INVALID_TOKEN)
            assert replies == []
            return
        welcome = [TASKS_FROM_HERE] if not is_admitted and number == 0 else []
        assert len(replies) == 1 + len(welcome)
        assert replies[1:] == welcome
        assert replies[0]["status"] in ("success", "error")
