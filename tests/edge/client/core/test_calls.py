"""Events and calls of a client, with an edge in memory."""

from typing import Any

import pytest

from edge.client.core.calls import MAX_UNANSWERED, ClientCall, Outcome
from edge.client.core.errors import Forbidden, NotSent, OutcomeUnknown, RequestFailed
from tests.edge.client.scripted import ScriptedEdge
from tests.relay.wire.vectors import case_name, vectors

VECTORS = vectors("client_calls")
GREET = {"action": "request", "method": "greet", "params": None}


class Caller:
    """A caller, and the outcomes that it was told."""

    def __init__(self, edge: ScriptedEdge, request: dict[str, Any] | None = None) -> None:
        self.outcomes: list[Outcome] = []
        deadline = edge.now + 10
        self.call = ClientCall(
            GREET if request is None else request, 10, deadline, self.outcomes.append
        )
        edge.talk.calls.add(self.call)

    @property
    def error(self) -> RequestFailed:
        [error] = self.outcomes
        assert isinstance(error, RequestFailed)
        return error


@pytest.fixture
def edge() -> ScriptedEdge:
    """An edge with a live client."""
    edge = ScriptedEdge()
    edge.admit()
    return edge


@pytest.mark.parametrize("vector", VECTORS["outcomes"], ids=case_name)
def test_an_outcome_of_the_vectors(edge: ScriptedEdge, vector: dict[str, Any]) -> None:
    caller = Caller(edge, {"action": vector["action"], "topic": "room:1"})
    edge.answer(**vector["reply"])
    if "error" in vector:
        error = vector["error"]
        assert (type(caller.error).__name__, caller.error.code) == (error["python"], error["code"])
        assert str(caller.error) == vector["reply"]["message"]
    else:
        [outcome] = caller.outcomes
        assert not isinstance(outcome, RequestFailed)
        assert outcome["status"] == "success"
    assert edge.talk.state.name == "live"
    assert edge.failures == []


def test_it_waits_for_a_connection_and_goes_behind_the_subscriptions() -> None:
    edge = ScriptedEdge()
    caller = Caller(edge)
    edge.talk.subscribe("event:*", _Nobody())
    edge.open()
    assert [each["action"] for each in edge.requests] == ["authenticate"]
    edge.now = 4
    edge.answer(username="alice")
    assert [each["action"] for each in edge.requests] == ["subscribe", "request"]
    assert edge.requests[1] == GREET | {"id": "call-1", "timeout": 6}
    edge.answer(epoch=1, position={"event": 0})
    assert edge.talk.state.name == "live", "a call that takes its time delays nothing"
    edge.answer(result="hello")
    assert [outcome["result"] for outcome in caller.outcomes if isinstance(outcome, dict)] == [
        "hello"
    ]


def test_only_a_request_has_a_timeout_at_the_edge(edge: ScriptedEdge) -> None:
    Caller(edge, {"action": "publish", "topic": "room:1", "data": 1})
    assert edge.read() == [{"action": "publish", "topic": "room:1", "data": 1, "id": "call-1"}]


def test_a_lost_connection_ends_what_was_sent_and_sends_nothing_again(edge: ScriptedEdge) -> None:
    sent = Caller(edge)
    edge.read()
    edge.drop()
    waiting = Caller(edge)
    assert (type(sent.error), sent.error.code) == (OutcomeUnknown, "connection_lost")
    assert "nobody knows" in str(sent.error)
    edge.admit()
    assert len(sent.outcomes) == 1
    assert len(waiting.outcomes) == 1


def test_the_edge_is_never_given_more_than_it_takes(edge: ScriptedEdge) -> None:
    callers = [Caller(edge) for _ in range(MAX_UNANSWERED + 2)]
    assert len(edge.read()) == MAX_UNANSWERED
    callers[0].call.deadline = 0
    edge.talk.calls.give_up(callers[0].call)
    assert len(edge.read()) == MAX_UNANSWERED, "the edge still counts it"
    edge.answer()
    assert len(edge.read()) == MAX_UNANSWERED
    edge.answer_all()
    assert [len(caller.outcomes) for caller in callers] == [0] + [1] * (MAX_UNANSWERED + 1)


def test_a_caller_that_gives_up_learns_whether_it_was_sent(edge: ScriptedEdge) -> None:
    sent = Caller(edge)
    edge.read()
    error = edge.talk.calls.give_up(sent.call)
    assert (type(error), error.code) == (OutcomeUnknown, "timeout")
    edge.answer(status="error", code="timeout", message="No answer")
    assert (sent.outcomes, edge.failures) == ([], []), "nobody waits for the reply any more"
    edge.drop()
    waiting = Caller(edge)
    error = edge.talk.calls.give_up(waiting.call)
    assert (type(error), error.code) == (NotSent, "not_connected")
    assert "'greet' was not sent" in str(error)
    edge.open()
    edge.answer(username="alice")
    assert edge.requests == []


def test_one_whose_time_is_over_is_not_sent(edge: ScriptedEdge) -> None:
    edge.drop()
    late = Caller(edge)
    edge.now = 10
    edge.admit()
    error = edge.talk.calls.give_up(late.call)
    assert isinstance(error, NotSent)


def test_a_closed_client_sends_nothing(edge: ScriptedEdge) -> None:
    edge.drop()
    before = Caller(edge)
    edge.talk.closed()
    after = Caller(edge)
    assert [type(each.error) for each in (before, after)] == [NotSent, NotSent]
    assert str(after.error) == "the client is closed: 'greet' was not sent"


def test_it_is_awaited_while_a_caller_waits_for_this_connection(edge: ScriptedEdge) -> None:
    calls = edge.talk.calls
    seen = [calls.is_awaited]
    caller = Caller(edge)
    seen.append(calls.is_awaited)
    edge.read()
    seen.append(calls.is_awaited)
    calls.give_up(caller.call)
    seen.append(calls.is_awaited)
    edge.drop()
    Caller(edge)
    seen.append(calls.is_awaited)
    assert seen == [False, True, True, False, False], "without a connection nothing can come"


def test_a_refusal_names_the_topic(edge: ScriptedEdge) -> None:
    caller = Caller(edge, {"action": "publish", "topic": "room:1", "data": 1})
    edge.answer(status="error", code="forbidden", message="Not allowed")
    assert isinstance(caller.error, Forbidden)
    assert caller.error.topic == "room:1"


class _Nobody:
    def confirmed(self) -> None: ...
    def event(self, event: object) -> None: ...
    def problem(self, error: object) -> None: ...
