"""Each reply to hello is followed: kinds, epoch, refusals; and a missing relay is told."""

import pytest

from emitters.core.connection_watch import NO_CONTROL, NO_INGRESS, NOBODY
from emitters.core.dialogue import (
    HELLO_RETRY_S,
    IN_USE,
    NO_EPOCH,
    REPORT_AGAIN_S,
    STALL_S,
    Dialogue,
)
from emitters.core.emitter_state import EmitterStatus
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


def test_the_proof_is_that_of_the_last_acknowledgement() -> None:
    """By a reply to hello, at first and after a stall, and by a notice."""
    outbox = Outbox()
    for number in (1, 2, 3, 4):
        outbox.add([outgoing(number)])
    dialogue = Dialogue("manager-1", outbox)
    dialogue.on_hello_sent(0.0)
    first = accepting(0).model_copy(update={"proof": b"proof of 0"})
    dialogue.on_hello_accepted(first, 0.0)
    subscribe(dialogue, *KINDS)
    proofs = [outbox.proof]
    outbox.take_unsent(4)
    dialogue.on_notice(Acknowledged(EPOCH, 2, b"proof of 2"), 0.0)
    proofs.append(outbox.proof)
    dialogue.on_notice(Acknowledged(EPOCH, 1, b"proof of 1"), 0.0)
    proofs.append(outbox.proof)
    dialogue.on_hello_sent(2.0)
    stalled = accepting(3, drops=1).model_copy(update={"proof": b"proof of 3"})
    dialogue.on_hello_accepted(stalled, 2.0)
    proofs.append(outbox.proof)
    dialogue.on_notice(Acknowledged(EPOCH, 4), 2.0)
    proofs.append(outbox.proof)
    assert proofs == [b"proof of 0", b"proof of 2", b"proof of 2", b"proof of 3", None]


def test_numbers_that_the_spool_has_lost_come_with_a_proof() -> None:
    outbox = Outbox()
    dialogue = Dialogue("manager-1", outbox)
    dialogue.on_hello_sent(0.0)
    dialogue.on_hello_accepted(accepting(9).model_copy(update={"proof": b"proof of 9"}), 0.0)
    assert (outbox.acknowledged, outbox.proof) == (9, b"proof of 9")


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


def test_a_relay_without_epochs_is_not_sent_anything() -> None:
    outbox = Outbox()
    dialogue = Dialogue("manager-1", outbox)
    subscribe(dialogue, *KINDS)
    earlier = accepting(0).model_copy(update={"emitter_epoch": None})
    for second in range(3):
        assert dialogue.hello_is_due(second)
        dialogue.on_hello_sent(second)
        dialogue.on_hello_accepted(earlier, second)
        assert (dialogue.is_accepted, outbox.epoch) == (False, 0)
        assert dialogue.trouble == NO_EPOCH
    greet(dialogue, 3.0)
    assert dialogue.is_open, "it was updated"


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


def test_what_is_missing_for_the_connection_is_named_until_it_is_open() -> None:
    dialogue = Dialogue("manager-1", Outbox())
    assert dialogue.trouble == NOBODY
    subscribe(dialogue, "event")
    assert dialogue.trouble == NO_CONTROL
    greet(dialogue, 100.0)
    assert dialogue.trouble == NO_INGRESS
    subscribe(dialogue, "task")
    assert dialogue.trouble is None


def refused(code: str, text: str = "another live process has the spool of 'manager-1'") -> Dialogue:
    """Return the dialogue of an emitter that the relay does not admit."""
    dialogue = Dialogue("manager-1", Outbox())
    subscribe(dialogue, *KINDS)
    dialogue.on_hello_sent(0.0)
    dialogue.on_hello_refused(code, text)
    return dialogue


def test_a_spool_that_another_process_has_is_named_until_the_relay_admits_this_one() -> None:
    dialogue = refused("emitter_in_use")
    assert dialogue.trouble == IN_USE
    greet(dialogue, 1.0)
    assert dialogue.trouble is None


def test_the_relays_own_words_are_told_for_any_other_refusal() -> None:
    trouble = refused("journal_unavailable", "the relay refused: {no} disk").trouble
    assert trouble is not None
    assert trouble.status is EmitterStatus.REFUSED
    assert trouble.text.format() == "the relay refused: {no} disk; events wait"


def test_an_emitter_that_was_replaced_is_over_and_in_no_trouble() -> None:
    assert refused("stale_epoch").trouble is None


def test_a_relay_that_is_gone_after_its_refusal_is_missing() -> None:
    dialogue = refused("emitter_in_use")
    unsubscribe(dialogue, *KINDS)
    assert dialogue.trouble == NOBODY
