"""An outbox with a store: its events outlive the process, and their numbers stay true."""

from emitters.core.outbox import FORGET_BATCH, Outbox
from tests.emitters.core.outboxes import filled, numbers, outgoing
from tests.emitters.core.stores import RecordingStore


def test_acknowledged_events_leave_the_store_in_batches() -> None:
    store = RecordingStore()
    last = 3 * FORGET_BATCH
    outbox = filled(last, store)
    outbox.take_unsent(last)
    forgotten = []
    for sequence in range(1, last):
        outbox.acknowledge(sequence)
        forgotten.append(store.acknowledged)
    assert forgotten == [n // FORGET_BATCH * FORGET_BATCH for n in range(1, last)]
    outbox.acknowledge(last)
    assert store.kept == [], "with nothing left there is nothing to wait for"


def test_a_single_event_leaves_the_store_when_it_was_the_only_one() -> None:
    store = RecordingStore()
    outbox = filled(1, store)
    outbox.take_unsent(1)
    outbox.acknowledge(1)
    assert store.kept == []


def test_the_number_in_the_store_has_its_own_proof_in_every_batch() -> None:
    store = RecordingStore()
    last = 2 * FORGET_BATCH + 1
    outbox = filled(last, store)
    outbox.take_unsent(last)
    for sequence in range(1, last):
        outbox.acknowledge(sequence, b"%d" % sequence)
        assert store.proof == (b"%d" % store.acknowledged if store.acknowledged else None)
    assert store.acknowledged == 2 * FORGET_BATCH
    outbox.close()
    assert (store.acknowledged, store.proof) == (last - 1, b"%d" % (last - 1))
    assert Outbox(acknowledged=last - 1, kept=store.kept, store=store.open()).proof == store.proof


def test_a_store_without_a_proof_gets_it_with_the_reply_to_hello() -> None:
    """It was made by an earlier version, or the relay has another journal."""
    store = RecordingStore()
    store.rewrite(10, [outgoing("event:a")])
    store.relay_was_met()
    outbox = Outbox(acknowledged=10, kept=store.kept, store=store.open())
    assert outbox.proof is None
    for proof in (b"first", b"another"):
        assert outbox.rewind(10, proof)
        assert (store.acknowledged, store.proof, len(store.kept)) == (10, proof, 1)
    assert outbox.rewind(10)
    assert outbox.proof == store.proof == b"another", "a relay that gives none takes none back"


def test_a_proof_of_another_epoch_of_the_relay_is_in_the_store_before_the_epoch() -> None:
    store = RecordingStore()
    outbox = filled(3, store)
    outbox.keep_relay_epoch(1)
    outbox.take_unsent(3)
    outbox.acknowledge(2, b"proof of 2")
    assert store.acknowledged == 0
    outbox.keep_relay_epoch(1)
    assert store.acknowledged == 0, "a batch leaves together"
    outbox.keep_relay_epoch(2)
    assert (store.acknowledged, store.proof, store.relay_epoch) == (2, b"proof of 2", 2)


def test_events_that_are_numbered_anew_follow_a_number_with_its_proof() -> None:
    store = RecordingStore()
    outbox = filled(3, store)
    outbox.take_unsent(3)
    outbox.acknowledge(2, b"proof of 2")
    outbox.rewind(2)
    outbox.set_journaled_kinds(frozenset({"task"}))
    assert (outbox.acknowledged, store.acknowledged, store.proof) == (2, 2, b"proof of 2")
    outbox.skip_to(9, b"proof of 9")
    assert (outbox.proof, store.acknowledged, store.proof) == (b"proof of 9", 9, b"proof of 9")


def test_whether_events_outlive_the_process_is_known() -> None:
    assert Outbox(store=RecordingStore()).has_store is True
    assert Outbox().has_store is False


def test_a_store_that_lost_its_end_goes_on_after_what_the_relay_has() -> None:
    """It had kept 1 to 3 and lost 4 to 9 in a power cut; two events came since."""
    store = RecordingStore()
    kept = [outgoing("event:a", b"%d" % number) for number in (1, 2, 3)]
    store.rewrite(0, kept)
    store.relay_was_met()
    outbox = Outbox(kept=kept, store=store.open())
    outbox.add([outgoing("event:a", b"10")])
    # Another one, before the relay was met: its predecessor has sent nothing either.
    outbox = Outbox(kept=store.kept, store=store.open())
    outbox.add([outgoing("event:a", b"11")])
    assert not outbox.rewind(9)
    assert outbox.skip_to(9) == 2
    assert numbers(outbox.take_unsent(5)) == [10, 11]
    assert sorted(store.events) == [10, 11]
    assert outbox.acknowledge(11)
    assert outbox.counters()["accepted"] == outbox.counters()["acknowledged"] == 11


def test_closing_tells_the_store_the_last_acknowledgement_and_closes_it() -> None:
    store = RecordingStore()
    outbox = filled(5, store)
    outbox.take_unsent(5)
    outbox.acknowledge(1)
    assert (store.acknowledged, store.is_open) == (0, True)
    outbox.close()
    assert (store.acknowledged, len(store.events), store.is_open) == (1, 4, False)
    outbox.close()


def test_what_a_process_added_that_never_met_the_relay_was_sent_by_nobody() -> None:
    """The store had lost the numbers 4 to 6; process after process believes it goes on at 4."""
    store = RecordingStore()
    store.rewrite(0, [outgoing("event:a", b"%d" % number) for number in (1, 2, 3)])
    store.relay_was_met()
    for new in (b"7", b"8", b"9", b"10"):
        outbox = Outbox(kept=store.kept, store=store.open())
        outbox.add([outgoing("event:a", new)])
    assert not outbox.rewind(6)
    assert outbox.skip_to(6) == 4
    assert numbers(outbox.take_unsent(5)) == [7, 8, 9, 10]


def left_behind(*topics: str) -> Outbox:
    """The outbox of a process that finds events on `topics` in the store, after number 10."""
    store = RecordingStore()
    store.rewrite(10, [outgoing(topic, b"x") for topic in topics])
    return Outbox(acknowledged=10, kept=store.kept, store=store.open())


def test_events_that_an_earlier_process_has_left_are_known() -> None:
    assert Outbox().inherited == 0
    outbox = left_behind("event:a", "task:1")
    assert outbox.inherited == 12
    outbox.add([outgoing("event:b", b"y")])
    outbox.take_unsent(5)
    outbox.acknowledge(13)
    assert outbox.inherited == 12, "those of this process are its own"


def test_the_earlier_ones_are_known_by_their_new_numbers_too() -> None:
    outbox = left_behind("event:a", "task:1")
    outbox.add([outgoing("task:2", b"y")])
    outbox.skip_to(20)
    assert (outbox.acknowledged, outbox.last) == (20, 23)
    assert outbox.inherited == 22


def test_no_event_of_this_process_passes_for_an_earlier_one_that_is_acknowledged() -> None:
    outbox = left_behind("event:a", "task:1")
    outbox.take_unsent(5)
    outbox.acknowledge(12)
    outbox.add([outgoing("task:2", b"y")])
    outbox.skip_to(20)
    assert (outbox.last, outbox.inherited) == (21, 20)


def test_the_earlier_ones_are_known_when_some_are_not_journaled() -> None:
    outbox = left_behind("event:a", "task:1")
    outbox.add([outgoing("task:2", b"y")])
    outbox.set_journaled_kinds(frozenset({"task"}))
    assert (outbox.acknowledged, outbox.last) == (10, 12)
    assert outbox.inherited == 11
    outbox.take_unsent(5)
    outbox.acknowledge(12)
    outbox.set_journaled_kinds(frozenset({"event", "task"}))
    assert outbox.inherited == 11
