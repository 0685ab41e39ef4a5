"""The client's side of `/ws`, with an edge in memory."""

from typing import Any

import pytest

from edge.client.core.errors import ClosedByEdge, Forbidden, TokenRefused
from edge.client.core.messages import ConnectionState, Gap, NewEpoch, Unrecovered
from tests.edge.client.scripted import EPOCH, URL, Recorder, ScriptedEdge
from tests.relay.wire.vectors import case_name, vectors

REPLIES = vectors("messages")["replies_to_user"]


@pytest.fixture
def edge() -> ScriptedEdge:
    """An edge with a live client."""
    edge = ScriptedEdge()
    edge.admit()
    return edge


def test_it_authenticates_and_then_subscribes_with_ids() -> None:
    edge = ScriptedEdge()
    edge.talk.subscribe("event:*", Recorder())
    edge.open()
    assert edge.requests == [{"action": "authenticate", "token": "token", "id": 1}]
    edge.answer(username="alice")
    assert edge.requests == [{"action": "subscribe", "topic": "event:*", "id": 2}]
    assert edge.talk.state.name == "connecting"
    edge.answer(epoch=EPOCH, position={"event": 4})
    assert edge.talk.state == ConnectionState("live", username="alice")


def test_a_further_connection_resumes_all_subscriptions_together(edge: ScriptedEdge) -> None:
    for pattern in ("event:a", "event:b"):
        edge.subscribe(pattern, 4)
    edge.subscribe("resource-monitor:x")
    edge.event("event:a", 5)
    edge.drop()
    edge.open()
    edge.answer(username="alice")
    given = [
        {key: each[key] for key in each if key not in ("action", "id")} for each in edge.requests
    ]
    since = {"since": {"event": 5}, "epoch": EPOCH}
    assert given == [
        {"topic": "resource-monitor:x"},
        {"topic": "event:a", **since, "more": True},
        {"topic": "event:b", **since},
    ]


def test_a_new_subscription_waits_for_the_catch_up(edge: ScriptedEdge) -> None:
    edge.subscribe("event:a", 4)
    edge.drop()
    edge.talk.subscribe("event:b", Recorder(), 7)
    edge.open()
    edge.answer(username="alice")
    assert [each["topic"] for each in edge.requests] == ["event:a"]
    edge.answer(epoch=EPOCH, position={"event": 9}, recovered=True)
    assert [(each["topic"], each["last"]) for each in edge.requests] == [("event:b", 7)]
    assert edge.talk.state.name == "connecting"


def test_the_position_of_streams_without_subscription_is_in_the_address(edge: ScriptedEdge) -> None:
    assert edge.talk.address == URL
    edge.say(type="position", epoch=7, position={"task": 3, "addressed": 0})
    assert edge.talk.address == f"{URL}?epoch=7&task=3&addressed=0"


def test_a_repeated_event_is_dropped(edge: ScriptedEdge) -> None:
    sink = edge.subscribe("event:*", 4)
    for offset in (4, 5, 5, 6):
        edge.event("event:a", offset)
    assert sink.offsets == [5, 6]


def test_personal_events_need_no_subscription_and_come_once() -> None:
    edge, tasks, addressed = ScriptedEdge(), Recorder(), Recorder()
    edge.talk.listen("task", tasks)
    edge.talk.listen("addressed", addressed)
    edge.admit()
    edge.event("task:1", 4, retained=True)
    edge.say(type="position", epoch=EPOCH, position={"task": 4, "addressed": 0})
    edge.event("notice:1", 1, stream="addressed")
    edge.drop()
    edge.admit()
    edge.say(type="position", epoch=EPOCH, position={})
    edge.event("task:1", 4, retained=True)
    edge.event("notice:1", 1, stream="addressed")
    edge.event("task:1", 5)
    late = Recorder()
    edge.talk.listen("task", late)
    assert [(event.offset, event.retained) for event in late.events] == [(5, True)]
    assert (tasks.offsets, addressed.offsets) == ([4, 5], [1])
    edge.talk.stop_listening("task", tasks)
    edge.talk.stop_listening("task", tasks)
    edge.event("task:1", 6)
    assert tasks.offsets == [4, 5]


def test_a_gap_is_told_once_with_the_sinks_that_it_concerns(edge: ScriptedEdge) -> None:
    sink, other = edge.subscribe("event:*", 4), edge.subscribe("resource-monitor:*")
    for _ in range(2):
        edge.say(**vectors("messages")["gap"]["message"])
    edge.say(type="gap", stream="event")
    assert edge.losses == [(Gap("event", 1044, 1050, "retention"), [sink])]
    assert other.errors == []
    assert edge.talk.seen.offsets["event"] == 1050


def test_a_new_epoch_is_told_when_every_subscription_is_live_under_it(edge: ScriptedEdge) -> None:
    sink = edge.subscribe("event:*", 4)
    edge.drop()
    edge.open()
    edge.answer(username="alice")
    edge.say(type="position", epoch=2, position={})
    assert edge.losses == []
    edge.answer(epoch=2, position={"event": 0}, recovered=False)
    assert edge.losses == [(NewEpoch(2, EPOCH), [sink])]


def test_two_new_epochs_are_told_as_one(edge: ScriptedEdge) -> None:
    edge.subscribe("event:*", 4)
    edge.talk.subscribe("event:b", Recorder())
    edge.say(type="position", epoch=2, position={})
    edge.say(type="position", epoch=3, position={})
    edge.answer_all(epoch=3, position={"event": 0})
    assert [loss for loss, _ in edge.losses] == [NewEpoch(3, EPOCH)]


@pytest.mark.parametrize(("gap", "expected"), [(False, [Unrecovered("event:*")]), (True, [])])
def test_a_subscription_that_is_not_recovered_is_told_unless_a_gap_explains_it(
    edge: ScriptedEdge, gap: bool, expected: list[object]
) -> None:
    edge.subscribe("event:*", 4)
    edge.drop()
    edge.open()
    edge.answer(username="alice")
    if gap:
        edge.say(**vectors("messages")["gap"]["message"])
    edge.answer(epoch=EPOCH, position={"event": 1060}, recovered=False)
    assert [loss for loss, _ in edge.losses if not isinstance(loss, Gap)] == expected


def test_a_refused_subscription_tells_its_sinks_and_is_tried_with_the_next_token(
    edge: ScriptedEdge,
) -> None:
    sink = Recorder()
    edge.talk.subscribe("secret:*", sink)
    edge.answer(status="error", code="forbidden", message="Not allowed")
    [error] = sink.errors
    assert (type(error), str(error)) == (Forbidden, "Not allowed")
    assert edge.talk.state.name == "live"
    edge.talk.renew("new")
    assert edge.answer(username="alice")["token"] == "new"
    assert [each["topic"] for each in edge.requests] == ["secret:*"]


def test_a_later_sink_of_a_refused_subscription_learns_of_it(edge: ScriptedEdge) -> None:
    first, second = Recorder(), Recorder()
    edge.talk.subscribe("secret:*", first)
    edge.answer(status="error", code="forbidden", message="Not allowed")
    edge.talk.subscribe("secret:*", second)
    assert [len(sink.errors) for sink in (first, second)] == [1, 1]
    assert edge.requests == []


def test_a_subscription_that_the_edge_ends_tells_its_sinks(edge: ScriptedEdge) -> None:
    sink = edge.subscribe("event:*", 4)
    edge.say(status="error", code="forbidden", message="No more", topic="event:*")
    edge.say(status="error", code="forbidden", message="No more", topic="event:x")
    assert [str(error) for error in sink.errors] == ["No more"]
    assert [error.topic for error in edge.failures] == ["event:x"]


def test_a_reply_without_an_id_or_to_another_client_changes_nothing(edge: ScriptedEdge) -> None:
    edge.talk.subscribe("event:*", Recorder())
    wrong: tuple[object, ...] = (None, 99, "2", [])
    for request_id in wrong:
        edge.say(status="success", message="Subscribed", id=request_id)
    assert edge.talk.seen.epoch is None
    edge.answer_all(epoch=EPOCH, position={})
    assert edge.talk.seen.epoch == EPOCH


def test_the_last_sink_unsubscribes(edge: ScriptedEdge) -> None:
    first, second = edge.subscribe("event:*"), Recorder()
    subscription = edge.talk.subscribe("event:*", second)
    assert (second.confirmations, edge.read()) == (1, [])
    edge.talk.unsubscribe(subscription, first)
    assert edge.read() == []
    edge.talk.unsubscribe(subscription, second)
    assert [each["action"] for each in edge.read()] == ["unsubscribe"]


class TestLostConnections:
    def test_delays_grow_and_begin_anew_once_live(self, edge: ScriptedEdge) -> None:
        assert [edge.drop(), edge.drop(), edge.drop()] == [0.25, 0.5, 1]
        edge.admit()
        assert edge.drop() == 0.25
        assert edge.talk.state == ConnectionState("waiting", 1006, "", 0.25)

    def test_a_told_delay_counts(self, edge: ScriptedEdge) -> None:
        assert edge.drop(4013, "overloaded, retry in 3 s") == 6

    def test_a_fault_of_this_client_ends_it(self, edge: ScriptedEdge) -> None:
        assert edge.drop(1009, "too large") is None
        assert isinstance(edge.talk.error, ClosedByEdge)
        assert edge.talk.state == ConnectionState("closed", 1009, "too large")
        edge.talk.closed()
        assert edge.talk.state.code == 1009

    def test_a_second_refused_token_ends_it(self, edge: ScriptedEdge) -> None:
        assert edge.drop(1008, "Invalid token") == 0.25
        assert edge.drop(1008, "Invalid token") is None
        assert isinstance(edge.talk.error, TokenRefused)
        assert edge.talk.state.name == "unauthenticated"

    def test_a_token_that_stays_the_same_is_refused_once(self) -> None:
        edge = ScriptedEdge(has_fresh_tokens=False)
        edge.admit(expires_in=3600)
        assert edge.talk.renew_in_s is None
        assert edge.drop(1008, "Invalid token") is None

    def test_refusals_with_a_live_connection_between_are_not_two(self, edge: ScriptedEdge) -> None:
        assert edge.drop(1008, "Invalid token") is not None
        edge.admit()
        assert edge.drop(1008, "Invalid token") is not None

    def test_closing(self, edge: ScriptedEdge) -> None:
        edge.talk.closed()
        assert edge.states[-1].name == "closed"
        edge.talk.subscribe("event:*", Recorder())
        edge.say(type="position", epoch=9, position={})
        assert (edge.read(), edge.talk.seen.epoch) == ([], None)


class TestTime:
    def test_a_token_is_renewed_ahead(self, edge: ScriptedEdge) -> None:
        edge.drop()
        assert edge.talk.renew_in_s is None
        edge.admit(expires_in=60)
        assert edge.talk.renew_in_s == 48

    def test_a_silent_edge_is_asked_and_given_up(self, edge: ScriptedEdge) -> None:
        assert edge.talk.deadline == 30
        assert edge.talk.check(30) is None
        [request] = edge.read()
        assert (request["action"], request["topic"]) == ("unsubscribe", "event:is-anybody-there")
        assert edge.talk.check(40) == "The edge fell silent"

    def test_its_answer_shows_that_it_is_there(self, edge: ScriptedEdge) -> None:
        edge.talk.check(30)
        edge.now = 35
        edge.answer()
        assert edge.talk.check(40) is None
        edge.talk.heard(50)
        assert edge.talk.deadline == 80

    def test_a_connection_that_resumes_may_take_longer(self) -> None:
        edge = ScriptedEdge()
        assert (edge.talk.deadline, edge.talk.check(99)) == (None, None)
        edge.open()
        assert edge.talk.deadline == 10
        assert edge.talk.check(10) == "No answer"
        edge.admit()
        edge.subscribe("event:*", 4)
        edge.drop()
        edge.open()
        assert edge.talk.deadline == 45


@pytest.mark.parametrize("message", [[], "text", {}, {"type": "news"}, {"topic": 1, "type": "x"}])
def test_a_message_of_an_unknown_form_is_ignored(edge: ScriptedEdge, message: object) -> None:
    edge.talk.received(message, 1)
    assert (edge.failures, edge.losses, edge.talk.state.name) == ([], [], "live")


def test_the_position_of_the_vectors(edge: ScriptedEdge) -> None:
    vector = vectors("messages")["position"]
    edge.say(**vector["message"])
    assert (edge.talk.seen.epoch, edge.talk.seen.offsets) == (vector["epoch"], vector["position"])


@pytest.mark.parametrize("vector", REPLIES, ids=case_name)
def test_a_reply_of_the_vectors(edge: ScriptedEdge, vector: dict[str, Any]) -> None:
    reply, sink = vector["reply"], Recorder()
    edge.talk.subscribe("event:vectors", sink)
    if reply["status"] == "error":
        edge.answer(**{**reply, "id": edge.read()[0]["id"]})
        [error] = sink.errors
        assert (getattr(error, "code", None), str(error)) == (
            reply.get("code", "error"),
            reply["message"],
        )
    elif reply.get("action") == "subscribe":
        edge.answer(**{**reply, "id": edge.read()[0]["id"]})
        assert (edge.talk.seen.epoch, edge.talk.seen.offsets) == (reply["epoch"], reply["position"])
