"""The dialogue sends hello, events and reports when it should, and only then."""

import pytest

from emitters.core.dialogue import IN_USE, REPORT_AGAIN_S, STALL_S, Dialogue
from emitters.core.outbox import Outbox
from relay.wire.notices import Acknowledged, Notice, Resend
from tests.emitters.core.messages import EPOCH, KINDS, accepting, outgoing, subscribe, unsubscribe


class Talk:
    """A dialogue that the relay has accepted, about `count` events."""

    def __init__(self, count: int = 0, drops: int | None = None) -> None:
        self.outbox = Outbox()
        for number in range(1, count + 1):
            self.outbox.add([outgoing(number)])
        self.dialogue = Dialogue("manager-1", self.outbox)
        self.say_hello(0.0)
        self.dialogue.on_hello_accepted(accepting(0, drops=drops), 0.0)
        subscribe(self.dialogue, *KINDS)

    def say_hello(self, now: float) -> None:
        assert self.dialogue.hello_is_due(now)
        self.dialogue.on_hello_sent(now)

    def send(self, now: float) -> list[int]:
        if not self.outbox.in_flight:
            self.dialogue.on_events_sent(now)
        first, events = self.outbox.take_unsent(100)
        return list(range(first, first + len(events)))


def test_it_is_open_with_the_hello_accepted_and_every_stream_subscribed() -> None:
    dialogue = Dialogue("manager-1", Outbox())

    def state() -> tuple[bool, bool]:
        return dialogue.is_accepted, dialogue.is_open

    subscribe(dialogue, "event")
    assert state() == (False, False)
    dialogue.on_hello_sent(0.0)
    dialogue.on_hello_accepted(accepting(0), 0.0)
    assert state() == (True, False)
    subscribe(dialogue, "task")
    assert state() == (True, True)
    unsubscribe(dialogue, "task")
    assert state() == (True, False)
    unsubscribe(dialogue, "event")
    assert state() == (False, False)
    assert dialogue.hello_is_due(0.0), "it is a new relay, perhaps"


def test_a_relay_that_journals_less_than_it_said_is_asked_again() -> None:
    """The reply was an older relay's; the one that is there subscribes to less."""
    dialogue = Dialogue("manager-1", Outbox())
    dialogue.on_hello_sent(0.0)
    dialogue.on_hello_accepted(accepting(0, ("event", "task", "audit")), 0.0)
    subscribe(dialogue, *KINDS)
    opened = [dialogue.is_open]
    assert dialogue.hello_is_due(1.0)
    dialogue.on_hello_sent(1.0)
    dialogue.on_hello_accepted(accepting(0), 1.0)
    opened.append(dialogue.is_open)
    assert opened == [False, True]
    assert not dialogue.hello_is_due(2.0)


def test_a_hello_that_is_not_answered_is_said_again() -> None:
    dialogue = Dialogue("manager-1", Outbox())
    assert dialogue.hello_is_due(0.0)
    dialogue.on_hello_sent(10.0)
    assert not dialogue.hello_is_due(10.9)
    assert dialogue.due_at(10.9) == 11.0
    assert dialogue.hello_is_due(11.0)


def test_silence_with_nothing_in_flight_is_no_stall() -> None:
    talk = Talk(count=1)
    assert not talk.dialogue.hello_is_due(100.0)
    assert talk.send(100.0) == [1]
    assert not talk.dialogue.hello_is_due(100.0 + STALL_S / 2)
    assert talk.dialogue.hello_is_due(100.0 + STALL_S)


def test_a_stall_without_progress_sends_again_one_event_at_a_time() -> None:
    talk = Talk(count=3)
    talk.send(0.0)
    talk.dialogue.on_notice(Acknowledged(EPOCH, 1), 5.0)
    assert not talk.dialogue.hello_is_due(5.9)
    talk.say_hello(6.0)
    talk.dialogue.on_hello_accepted(accepting(1), 6.1)
    assert talk.send(6.1) == [2]
    assert talk.send(6.1) == []
    talk.dialogue.on_notice(Acknowledged(EPOCH, 2), 6.2)
    assert talk.send(6.2) == [3]


def test_a_stall_on_an_unbroken_connection_is_asked_about_and_nothing_is_sent_again() -> None:
    """The events are on their way. Each answer that tells of no progress doubles the time."""
    talk = Talk(count=3, drops=7)
    talk.send(0.0)
    asked_at = []
    for tenth in range(160):
        now = tenth / 10
        if talk.dialogue.hello_is_due(now):
            asked_at.append(now)
            talk.say_hello(now)
            talk.dialogue.on_hello_accepted(accepting(0, drops=7), now)
            assert talk.send(now) == []
    assert asked_at == [1.0, 3.0, 7.0, 11.0, 15.0]
    talk.dialogue.on_notice(Acknowledged(EPOCH, 1), 16.0)
    assert not talk.dialogue.hello_is_due(16.9)
    assert talk.dialogue.hello_is_due(17.0), "after progress the time is the first one again"


def test_events_that_the_relay_has_dropped_are_sent_again_all_of_them() -> None:
    talk = Talk(count=3, drops=7)
    talk.send(0.0)
    talk.say_hello(1.0)
    talk.dialogue.on_hello_accepted(accepting(1, drops=8), 1.1)
    assert talk.send(1.1) == [2, 3]
    talk.say_hello(2.1)
    talk.dialogue.on_hello_accepted(accepting(1, drops=8), 2.2)
    assert talk.send(2.2) == [], "it knows of that drop"


def test_a_relay_that_can_write_again_is_sent_more_than_one_event_at_a_time() -> None:
    talk = Talk(count=3, drops=7)
    talk.send(0.0)
    talk.say_hello(1.0)
    talk.dialogue.on_hello_accepted(accepting(0), 1.1)
    assert talk.send(1.1) == [1], "it takes nothing, so one is tried"
    talk.say_hello(2.2)
    talk.dialogue.on_hello_accepted(accepting(0, drops=9), 2.3)
    assert talk.send(2.3) == [1, 2, 3]


def test_a_stall_with_progress_goes_on_without_sending_again() -> None:
    """Only the acknowledgement was lost."""
    talk = Talk(count=3)
    talk.send(0.0)
    talk.say_hello(1.0)
    talk.dialogue.on_hello_accepted(accepting(2), 1.1)
    assert talk.send(1.1) == []
    assert len(talk.outbox) == 1
    assert not talk.dialogue.hello_is_due(2.0)
    talk.say_hello(2.1)
    talk.dialogue.on_hello_accepted(accepting(2), 2.2)
    assert talk.send(2.2) == [3]


def test_a_resend_notice_is_followed_at_once() -> None:
    talk = Talk(count=4)
    talk.send(0.0)
    talk.dialogue.on_notice(Resend(EPOCH, 2), 0.1)
    assert talk.outbox.acknowledged == 2
    assert talk.send(0.1) == [3, 4]


@pytest.mark.parametrize(
    "notice",
    [
        Acknowledged(EPOCH + 1, 3),
        Resend(EPOCH - 1, 1),
        Acknowledged(EPOCH, 5),
        Resend(EPOCH, 5),
    ],
)
def test_notices_about_something_else_change_nothing(
    notice: Notice, caplog: pytest.LogCaptureFixture
) -> None:
    talk = Talk(count=4)
    talk.send(0.0)
    talk.dialogue.on_notice(notice, 0.1)
    assert (talk.outbox.acknowledged, talk.outbox.in_flight) == (0, 4)
    assert "ignores" in caplog.text


def test_a_resend_notice_that_was_overtaken_changes_nothing() -> None:
    talk = Talk(count=4)
    talk.send(0.0)
    talk.dialogue.on_notice(Acknowledged(EPOCH, 3), 0.1)
    talk.dialogue.on_notice(Resend(EPOCH, 1), 0.2)
    assert (talk.outbox.acknowledged, talk.outbox.in_flight) == (3, 1)


def test_a_spool_in_use_is_asked_for_again() -> None:
    dialogue = Dialogue("manager-1", Outbox())
    for second in range(3):
        assert dialogue.hello_is_due(second)
        dialogue.on_hello_sent(second)
        dialogue.on_hello_refused(
            "emitter_in_use", "another live process has the spool of 'manager-1'"
        )
    assert dialogue.trouble == IN_USE


def test_an_emitter_whose_name_was_taken_over_is_silent(caplog: pytest.LogCaptureFixture) -> None:
    talk = Talk(count=2)
    talk.send(0.0)
    talk.say_hello(1.0)
    talk.dialogue.on_hello_refused("stale_epoch", "a newer process has taken over")
    assert talk.dialogue.is_fenced
    assert not talk.dialogue.is_open
    assert not talk.dialogue.hello_is_due(100.0)
    assert "2 events are unacknowledged" in caplog.text


def test_the_account_is_told_once_a_second_when_it_has_changed() -> None:
    talk = Talk(count=2)
    first = talk.dialogue.report_to_send(0.0)
    assert first is not None
    assert (first["accepted"], first["acknowledged"]) == (2, 0)
    assert talk.dialogue.report_to_send(5.0) is None, "nothing has changed"
    talk.outbox.add([outgoing(3)])
    assert talk.dialogue.report_to_send(5.0) is not None
    talk.outbox.add([outgoing(4)])
    assert talk.dialogue.report_to_send(5.5) is None, "too soon"
    assert talk.dialogue.due_at(5.5) == 6.0
    last = talk.dialogue.report_to_send(5.5, at_once=True)
    assert last is not None
    assert last["accepted"] == 4


def test_unchanged_counters_are_reported_again_so_that_the_relay_knows_the_connection() -> None:
    talk = Talk()
    first = talk.dialogue.report_to_send(0.0)
    assert first is not None
    assert talk.dialogue.due_at(0.0) == REPORT_AGAIN_S
    assert talk.dialogue.report_to_send(REPORT_AGAIN_S - 0.1) is None
    assert talk.dialogue.report_to_send(REPORT_AGAIN_S) == first
    assert talk.dialogue.due_at(REPORT_AGAIN_S) == 2 * REPORT_AGAIN_S


def test_a_relay_that_was_restarted_gets_the_account_again() -> None:
    talk = Talk(count=1)
    assert talk.dialogue.report_to_send(0.0) is not None
    unsubscribe(talk.dialogue, *KINDS)
    assert talk.dialogue.report_to_send(5.0) is None, "nobody to tell"
    talk.say_hello(5.0)
    talk.dialogue.on_hello_accepted(accepting(0), 5.0)
    assert talk.dialogue.report_to_send(5.0) is not None


def test_a_relay_that_lost_acknowledged_events_is_sent_what_is_left(
    caplog: pytest.LogCaptureFixture,
) -> None:
    talk = Talk(count=4)
    talk.send(0.0)
    talk.dialogue.on_notice(Acknowledged(EPOCH, 3), 0.1)
    unsubscribe(talk.dialogue, *KINDS)
    subscribe(talk.dialogue, *KINDS)
    talk.say_hello(0.2)
    talk.dialogue.on_hello_accepted(accepting(1), 0.3)
    assert "has lost events 2 to 3" in caplog.text
    assert talk.send(0.3) == [4]


def test_a_relay_that_has_more_than_the_spool_is_not_sent_those_numbers_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    outbox = Outbox()
    outbox.add([outgoing(1)])
    dialogue = Dialogue("manager-1", outbox)
    dialogue.on_hello_sent(0.0)
    dialogue.on_hello_accepted(accepting(7), 0.0)
    assert outbox.take_unsent(5) == (8, [outgoing(1)])
    assert "1 newer ones were numbered anew" in caplog.text


def test_a_relay_that_has_what_it_acknowledged_has_lost_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    talk = Talk(count=4)
    talk.send(0.0)
    talk.dialogue.on_notice(Acknowledged(EPOCH, 3), 0.1)
    unsubscribe(talk.dialogue, *KINDS)
    caplog.clear()
    talk.say_hello(0.2)
    talk.dialogue.on_hello_accepted(accepting(3), 0.3)
    assert caplog.records == []
