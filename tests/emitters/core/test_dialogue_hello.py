"""Each reply to hello is followed: kinds, epoch, refusals; and a missing relay is told."""

import pytest

from emitters.core.connection_watch import AGAIN_AFTER_S, FIRST_AFTER_S, Trouble
from emitters.core.dialogue import HELLO_RETRY_S, REPORT_AGAIN_S, STALL_S, Dialogue
from emitters.core.outbox import Outbox
from emitters.core.outgoing import Outgoing
from relay.wire.notices import Acknowledged
from relay.wire.topics import parse_topic
from tests.emitters.core.messages import EPOCH, KINDS, accepting, outgoing, subscribe, unsubscribe
from tests.emitters.core.stores import RecordingStore


def opened(count: int = 0, drops: int | None = None) -> tuple[Dialogue, Outbox]:
    """A dialogue that is open since time 0, with `count` events in flight, and its outbox."""
    outbox = Outbox()
    outbox.add([outgoing(number) for number in range(1, count + 1)])
    dialogue = Dialogue("manager-1", outbox)
    subscribe(dialogue, *KINDS)
    greet(dialogue, 0.0, drops=drops)
    outbox.take_unsent(count)
    return dialogue, outbox


def greet(
    dialogue: Dialogue, now: float, sequence: int = 0, kinds: tuple[str, ...] = KINDS,
    *, drops: int | None = None
) -> None:  # fmt: skip
    """Say a hello that is due, and have it accepted at once."""
    assert dialogue.hello_is_due(now)
    dialogue.on_hello_sent(now)
    dialogue.on_hello_accepted(accepting(sequence, kinds, drops=drops), now)


def reconnect(dialogue: Dialogue) -> None:
    """Lose the relay; another one subscribes."""
    unsubscribe(dialogue, *KINDS)
    subscribe(dialogue, *KINDS)


def test_the_kinds_of_the_reply_are_journaled_from_then_on() -> None:
    outbox = Outbox()
    outbox.add([Outgoing(parse_topic("audit:a"), b"1")])
    dialogue = Dialogue("manager-1", outbox)
    greet(dialogue, 0.0, kinds=("event", "task", "audit"))
    assert outbox.is_journaled(parse_topic("audit:a"))
    assert outbox.take_unsent(5) == (1, [Outgoing(parse_topic("audit:a"), b"1")])


def test_the_next_process_with_a_spool_knows_the_epoch_of_the_relay() -> None:
    """Or its acknowledged events would prove a loss that the relay has told long ago."""
    store = RecordingStore()
    dialogue = Dialogue("manager-1", Outbox(store=store))
    greet(dialogue, 0.0)
    successor = Dialogue("manager-1", Outbox(store=store.open()))
    assert successor.relay_epoch == dialogue.relay_epoch == 1


def test_the_epoch_of_the_relay_is_that_of_the_reply() -> None:
    dialogue = Dialogue("manager-1", Outbox())
    epochs = [dialogue.relay_epoch]
    greet(dialogue, 0.0)
    epochs.append(dialogue.relay_epoch)
    reconnect(dialogue)
    dialogue.on_hello_sent(1.0)
    dialogue.on_hello_accepted(accepting(0).model_copy(update={"epoch": 2}), 1.0)
    assert [*epochs, dialogue.relay_epoch] == [None, 1, 2]


def test_numbers_keep_their_epoch_whatever_a_later_relay_hands_out() -> None:
    store = RecordingStore()
    outbox = Outbox(store=store)
    dialogue = Dialogue("manager-1", outbox)
    greet(dialogue, 0.0)
    reconnect(dialogue)
    dialogue.on_hello_sent(1.0)
    other = accepting(0).model_copy(update={"emitter_epoch": EPOCH + 1})
    dialogue.on_hello_accepted(other, 1.0)
    assert (outbox.epoch, store.epoch) == (EPOCH, EPOCH)
    assert dialogue.is_open


def test_a_relay_without_epochs_is_not_sent_anything_and_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    outbox = Outbox()
    dialogue = Dialogue("manager-1", outbox)
    subscribe(dialogue, *KINDS)
    earlier = accepting(0).model_copy(update={"emitter_epoch": None})
    for second in range(3):
        assert dialogue.hello_is_due(second)
        dialogue.on_hello_sent(second)
        dialogue.on_hello_accepted(earlier, second)
        assert (dialogue.is_accepted, outbox.epoch) == (False, 0)
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    greet(dialogue, 3.0)
    assert dialogue.is_open, "it was updated"
    assert len(caplog.records) == 1


@pytest.mark.parametrize("between", [reconnect, lambda dialogue: greet(dialogue, 1.0)])
def test_a_refusal_is_told_again_after_anything_else(
    between: object, caplog: pytest.LogCaptureFixture
) -> None:
    dialogue = Dialogue("manager-1", Outbox())
    subscribe(dialogue, *KINDS)
    dialogue.on_hello_sent(0.0)
    for _ in range(2):
        dialogue.on_hello_refused("journal_unavailable", "the disk is full")
    assert caplog.text.count("the disk is full") == 1
    between(dialogue)  # type: ignore[operator]
    dialogue.on_hello_refused("journal_unavailable", "the disk is full")
    assert caplog.text.count("the disk is full") == 2


@pytest.mark.parametrize("was_accepted", [False, True])
def test_a_relay_is_lost_only_if_it_was_there(
    was_accepted: bool, caplog: pytest.LogCaptureFixture
) -> None:
    dialogue = Dialogue("manager-1", Outbox())
    subscribe(dialogue, *KINDS)
    if was_accepted:
        greet(dialogue, 0.0)
    unsubscribe(dialogue, *KINDS)
    assert ("has lost the relay" in caplog.text) == was_accepted


def test_the_next_relay_gets_the_newest_live_values_too() -> None:
    dialogue, outbox = opened()
    value = Outgoing(parse_topic("live:a"), b"1")
    outbox.add([value])
    assert outbox.live.take(lambda _: True, 5) == [value]
    assert outbox.live.take(lambda _: True, 5) == []
    reconnect(dialogue)
    assert outbox.live.take(lambda _: True, 5) == [value]


def test_progress_in_the_reply_to_a_stall_ends_the_probing() -> None:
    dialogue, outbox = opened(3)
    greet(dialogue, STALL_S)
    assert len(outbox.take_unsent(5)[1]) == 1, "nothing was taken, so one is tried"
    greet(dialogue, 3 * STALL_S, 1)
    assert outbox.take_unsent(5) == (2, [outgoing(2), outgoing(3)])


def test_progress_in_the_reply_to_a_stall_makes_the_next_question_as_early_as_the_first() -> None:
    dialogue, _ = opened(3, drops=7)
    greet(dialogue, STALL_S, drops=7)
    greet(dialogue, 3 * STALL_S, 1, drops=7)
    assert dialogue.due_at(3 * STALL_S) == 0.0, "the first report"
    assert dialogue.report_to_send(3 * STALL_S) is not None
    assert dialogue.due_at(3 * STALL_S) == 4 * STALL_S


def test_on_a_new_connection_a_stall_is_asked_about_as_early_as_the_first_time() -> None:
    dialogue, outbox = opened(3, drops=7)
    greet(dialogue, STALL_S, drops=7)
    reconnect(dialogue)
    greet(dialogue, 10.0, drops=7)
    outbox.take_unsent(5)
    assert not dialogue.hello_is_due(10.0 + STALL_S - 0.1)
    assert dialogue.hello_is_due(10.0 + STALL_S)


def test_the_dialogue_acts_at_the_earlier_of_report_and_hello() -> None:
    dialogue, outbox = opened(2)
    assert dialogue.report_to_send(0.0) is not None
    assert dialogue.due_at(0.0) == STALL_S, "unless the relay acknowledges"
    dialogue.on_notice(Acknowledged(EPOCH, 2), 0.0)
    assert dialogue.report_to_send(1.0) is not None
    assert dialogue.due_at(1.0) == 1.0 + REPORT_AGAIN_S, "nothing is in flight"
    outbox.add([outgoing(3)])
    outbox.take_unsent(1)
    dialogue.on_events_sent(1.5)
    assert dialogue.due_at(1.5) == 2.0, "a second after the last report"


def test_a_dialogue_that_is_over_has_nothing_to_do_for_a_minute() -> None:
    dialogue = Dialogue("manager-1", Outbox())
    dialogue.on_hello_sent(0.0)
    assert dialogue.due_at(0.0) == HELLO_RETRY_S
    dialogue.on_hello_refused("stale_epoch", "a newer process has taken over")
    assert dialogue.due_at(100.0) == 160.0


def troubles(dialogue: Dialogue, first: float, last: float) -> list[Trouble]:
    """Return the troubles that are told from second `first` to `last`."""
    told = (dialogue.trouble(now) for now in range(int(first), int(last) + 1))
    return [each for each in told if each is not None]


def test_what_is_missing_for_the_connection_is_told_until_it_is_open() -> None:
    dialogue = Dialogue("manager-1", Outbox())
    assert troubles(dialogue, 0, FIRST_AFTER_S) == [Trouble.NOBODY]
    subscribe(dialogue, "event")
    assert troubles(dialogue, FIRST_AFTER_S, FIRST_AFTER_S + AGAIN_AFTER_S) == [Trouble.NO_CONTROL]
    greet(dialogue, 100.0)
    assert troubles(dialogue, 100, 200) == [Trouble.NO_INGRESS] * 2
    subscribe(dialogue, "task")
    assert troubles(dialogue, 200, 300) == []


@pytest.mark.parametrize("code", ["emitter_in_use", "stale_epoch"])
def test_a_refusal_was_told_and_is_no_further_trouble(code: str) -> None:
    dialogue = Dialogue("manager-1", Outbox())
    subscribe(dialogue, *KINDS)
    dialogue.on_hello_sent(0.0)
    dialogue.on_hello_refused(code, "another live process has the name 'manager-1'")
    assert troubles(dialogue, 0, 100) == []


def test_a_relay_that_is_gone_after_its_refusal_is_missing() -> None:
    dialogue = Dialogue("manager-1", Outbox())
    subscribe(dialogue, *KINDS)
    dialogue.on_hello_sent(0.0)
    dialogue.on_hello_refused("emitter_in_use", "another live process has the name 'manager-1'")
    unsubscribe(dialogue, *KINDS)
    assert troubles(dialogue, 0, FIRST_AFTER_S) == [Trouble.NOBODY]
