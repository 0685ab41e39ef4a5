"""`Calls`: turns, leases, bounds, and answers of the right process only."""

import pytest

from relay.core import calls as module
from relay.core.calls import CallRefused, Calls
from relay.wire.calls import LEASE_S

EDGE, A, B = b"edge", b"a", b"b"


def test_processes_with_one_method_take_turns() -> None:
    calls = Calls()
    calls.serve(A, ["m"], 0.0)
    calls.serve(B, ["m"], 0.0)
    asked = []
    for number in range(4):
        own = calls.begin(EDGE, number, 0.0, 1.0)
        server = next(calls.servers_of("m", 0.0))
        calls.passed_on(own, "m", server)
        asked.append(server)
    assert asked == [A, B, A, B]


def test_only_the_process_that_was_asked_answers_and_once() -> None:
    calls = Calls()
    calls.serve(A, ["m"], 0.0)
    own = calls.begin(EDGE, 7, 0.0, 1.0)
    calls.passed_on(own, "m", A)
    assert calls.end(own, B) is None
    waiting = calls.end(own, A)
    assert waiting is not None
    assert (waiting.caller, waiting.number) == (EDGE, 7)
    assert calls.end(own, A) is None
    assert calls.waiting(0.0) == 0


def test_a_call_that_nobody_waits_for_any_more_is_not_counted() -> None:
    """Its process was killed, perhaps."""
    calls = Calls()
    calls.begin(EDGE, 1, 0.0, 1.0)
    calls.begin(EDGE, 2, 0.0, 5.0)
    assert [calls.waiting(now) for now in (0.5, 1.0, 5.0)] == [2, 1, 0]


def test_a_lease_ends_unless_it_is_renewed() -> None:
    calls = Calls()
    calls.serve(A, ["m"], 0.0)
    calls.serve(B, ["m"], 0.0)
    calls.serve(A, ["m"], LEASE_S)
    assert list(calls.servers_of("m", LEASE_S + 0.1)) == [A]
    assert list(calls.servers_of("other", 0.0)) == []


def test_a_process_may_change_its_methods() -> None:
    calls = Calls()
    calls.serve(A, ["m", "n"], 0.0)
    calls.serve(A, ["n"], 0.0)
    assert list(calls.servers_of("m", 0.0)) == []
    assert list(calls.servers_of("n", 0.0)) == [A]
    calls.forget_server(A)
    assert list(calls.servers_of("n", 0.0)) == []


def test_a_caller_has_bounded_calls_and_expired_ones_make_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_WAITING_PER_CALLER", 2)
    calls = Calls()
    calls.begin(EDGE, 1, 0.0, 1.0)
    calls.begin(EDGE, 2, 0.0, 5.0)
    with pytest.raises(CallRefused):
        calls.begin(EDGE, 3, 0.5, 1.0)
    calls.begin(b"other", 3, 0.5, 1.0)
    calls.begin(EDGE, 4, 1.0, 1.0)


def test_registrations_are_bounded_and_ended_ones_make_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_REGISTRATIONS", 3)
    calls = Calls()
    calls.serve(A, ["m", "n"], 0.0)
    with pytest.raises(CallRefused):
        calls.serve(B, ["m", "n"], 1.0)
    calls.serve(B, ["m", "n"], LEASE_S)
    assert list(calls.servers_of("m", LEASE_S)) == [B]
