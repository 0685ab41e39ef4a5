"""Deadlines of one connection."""

from edge.client.core.liveness import Liveness, Pulse


def test_before_it_is_live_each_message_has_ten_seconds() -> None:
    liveness = Liveness(100, may_catch_up=False)
    assert liveness.check(109.9) is Pulse.ALIVE
    liveness.heard(109.9)
    assert liveness.check(119.8) is Pulse.ALIVE
    assert liveness.check(119.9) is Pulse.LOST
    assert liveness.reason == "No answer"


def test_a_catch_up_may_be_silent_for_longer() -> None:
    liveness = Liveness(100, may_catch_up=True)
    assert liveness.deadline == 145
    liveness = Liveness(100, may_catch_up=False)
    liveness.may_catch_up = True
    liveness.heard(100)
    assert liveness.deadline == 145


def test_a_silent_connection_is_asked_and_then_lost() -> None:
    liveness = Liveness(0, may_catch_up=False)
    liveness.live(0)
    assert (liveness.check(29), liveness.check(30)) == (Pulse.ALIVE, Pulse.ASK)
    assert (liveness.check(39), liveness.check(40)) == (Pulse.ALIVE, Pulse.LOST)
    assert liveness.reason == "The edge fell silent"


def test_any_message_answers_the_question() -> None:
    liveness = Liveness(0, may_catch_up=False)
    liveness.live(0)
    assert liveness.check(30) is Pulse.ASK
    liveness.heard(35)
    assert (liveness.check(64), liveness.check(65)) == (Pulse.ALIVE, Pulse.ASK)
