"""Each number of an emitter's epoch is taken once and in order; a name has one live process."""

import sys

import pytest

from relay.core.emitters import (
    MAX_EPOCH,
    MAX_KNOWN_EMITTERS,
    Cursor,
    KnownEmitter,
    KnownEmitters,
    Progress,
    Refusal,
    SequenceVerdict,
)
from relay.wire.header import Header

ID = b"e" * 16


def gone(_: KnownEmitter) -> bool:
    """No emitter is connected."""
    return False


def reached(_: KnownEmitter) -> bool:
    """Every emitter is connected."""
    return True


def header(sequence: int, epoch: int = 5, emitter_id: bytes = ID) -> Header:
    return Header(emitter_id, epoch, sequence)


def cursor(epoch: int = 5, acknowledged: int = 0, emitter_id: bytes = ID) -> Cursor:
    return Cursor(emitter_id, "manager-1", epoch, acknowledged)


def admitted(epoch: int = 5, acknowledged: int = 0) -> KnownEmitters:
    """An emitter that has said hello."""
    emitters = KnownEmitters(())
    assert emitters.admit(cursor(epoch, acknowledged), b"peer-1", gone) == acknowledged
    return emitters


def only(emitters: KnownEmitters) -> KnownEmitter:
    [emitter] = emitters
    return emitter


class TestAdmit:
    """One live process at a time is admitted under a name."""

    def test_a_new_emitter_begins_where_it_says_it_is(self) -> None:
        emitters = KnownEmitters(())
        assert emitters.admit(cursor(acknowledged=0), b"peer", gone) == 0
        other = cursor(acknowledged=41, emitter_id=b"f" * 16)
        assert emitters.admit(other, b"peer-2", gone) == 41
        assert emitters.advance(header(42, emitter_id=b"f" * 16)) is SequenceVerdict.TAKE
        assert emitters.lost_by_rollback == 0

    def test_one_that_comes_back_is_told_how_far_the_journal_is(self) -> None:
        emitters = KnownEmitters([cursor(5, 41)])
        assert emitters.admit(cursor(5, 30), b"peer", gone) == 41
        assert emitters.advance(header(42)) is SequenceVerdict.TAKE

    def test_a_new_epoch_begins_at_its_own_number(self) -> None:
        emitters = KnownEmitters([cursor(5, 41)])
        assert emitters.admit(cursor(6, 0), b"peer", gone) == 0
        assert emitters.advance(header(1, 6)) is SequenceVerdict.TAKE
        assert emitters.advance(header(42, 5)) is SequenceVerdict.NOT_ADMITTED

    def test_an_older_epoch_is_stale_even_if_the_newer_is_gone(self) -> None:
        emitters = admitted(6)
        with pytest.raises(Refusal, match="'manager-1'") as caught:
            emitters.admit(cursor(5), b"peer-2", gone)
        assert caught.value.code == "stale_epoch"
        assert only(emitters).peer == b"peer-1"

    def test_a_second_live_process_is_refused_and_changes_nothing(self) -> None:
        emitters = admitted(5)
        with pytest.raises(Refusal, match="'manager-1'") as caught:
            emitters.admit(cursor(6), b"peer-2", reached)
        assert caught.value.code == "emitter_in_use"
        assert emitters.advance(header(1, 5)) is SequenceVerdict.TAKE
        assert emitters.advance(header(1, 6)) is SequenceVerdict.NOT_ADMITTED
        assert only(emitters).peer == b"peer-1"

    def test_it_is_asked_whether_the_first_process_is_connected_and_not_the_second(self) -> None:
        emitters = admitted(5)
        asked = []

        def reach(emitter: KnownEmitter) -> bool:
            asked.append((emitter.peer, emitter.epoch))
            return False

        emitters.admit(cursor(6), b"peer-2", reach)
        assert asked == [(b"peer-1", 5)]
        assert only(emitters).peer == b"peer-2"

    def test_the_same_process_on_a_new_connection_is_no_second_one(self) -> None:
        emitters = admitted(5)
        assert emitters.admit(cursor(5), b"peer-2", reached) == 0
        assert only(emitters).peer == b"peer-2"

    def test_after_a_restart_nobody_is_connected(self) -> None:
        emitters = KnownEmitters([cursor(5, 41)])
        assert emitters.admit(cursor(6), b"peer", reached) == 0

    def test_events_lost_in_a_power_cut_are_counted_and_not_waited_for(self) -> None:
        emitters = KnownEmitters([cursor(5, 41)])
        assert emitters.admit(cursor(5, 50), b"peer", gone) == 50
        assert emitters.lost_by_rollback == 0, "so says the emitter"
        emitters.note_rollback(only(emitters), 9)
        assert emitters.lost_by_rollback == 9
        assert emitters.take_progress() == [Progress(only(emitters), 5, 50, has_moved=True)]
        assert emitters.advance(header(51)) is SequenceVerdict.TAKE

    def test_a_cursor_may_be_journaled_that_no_event_has_moved(self) -> None:
        emitters = KnownEmitters([cursor(5, 41)])
        emitters.admit(cursor(5, 50), b"peer", gone)
        emitter = only(emitters)
        assert emitters.take_progress() == []
        emitters.keep_cursor(emitter)
        progress = emitters.take_progress()
        assert progress == [Progress(emitter, 5, 50, has_moved=True)]
        assert emitters.commit(progress) == [emitter]
        assert emitter.committed == 50
        assert emitters.take_progress() == []

    def test_an_emitter_is_shown_under_the_name_of_its_newest_hello(self) -> None:
        emitters = KnownEmitters([cursor(5, 41)])
        emitters.admit(cursor(5, 41)._replace(name="manager-2"), b"peer", gone)
        assert only(emitters).as_dict()["name"] == "manager-2"

    def test_an_emitter_has_no_events_of_an_earlier_process_unless_it_says_so(self) -> None:
        assert only(admitted()).inherited == 0

    def test_names_are_told_apart_by_id(self) -> None:
        emitters = admitted(6)
        assert emitters.admit(cursor(5, emitter_id=b"f" * 16), b"peer-2", reached) == 0
        assert {emitter.emitter_id for emitter in emitters} == {ID, b"f" * 16}


class TestAdvance:
    """Each number is taken once and in order."""

    def test_nobody_knows_an_emitter_that_said_no_hello(self) -> None:
        assert KnownEmitters(()).advance(header(1)) is SequenceVerdict.NOT_ADMITTED

    @pytest.mark.parametrize("epoch", [4, 6])
    def test_another_epoch_is_not_admitted(self, epoch: int) -> None:
        emitters = admitted(5)
        assert emitters.advance(header(1, epoch)) is SequenceVerdict.NOT_ADMITTED
        assert only(emitters).sequence == 0

    def test_numbers_are_taken_once_and_in_order(self) -> None:
        emitters = admitted()
        verdicts = [emitters.advance(header(number)) for number in (1, 2, 2, 1, 4, 3, 4)]
        names = [verdict.name for verdict in verdicts]
        assert names[:4] == ["TAKE", "TAKE", "DUPLICATE", "DUPLICATE"]
        assert names[4:] == ["OUT_OF_SEQUENCE", "TAKE", "TAKE"]
        shown = only(emitters).as_dict()
        assert (shown["taken"], shown["duplicate"], shown["out_of_sequence"]) == (4, 2, 1)
        assert shown["not_admitted"] == 0

    def test_a_gap_is_told_once(self) -> None:
        emitters = admitted()
        for number in (1, 3, 4, 5):
            emitters.advance(header(number))
        assert [emitter.emitter_id for emitter in emitters.take_missing_events()] == [ID]
        emitters.advance(header(6))
        assert emitters.take_missing_events() == []

    def test_the_next_gap_is_told_again(self) -> None:
        emitters = admitted()
        emitters.advance(header(2))
        assert len(emitters.take_missing_events()) == 1
        for number in (1, 3):
            emitters.advance(header(number))
        assert len(emitters.take_missing_events()) == 1

    def test_several_gaps_in_one_batch_are_told_at_once(self) -> None:
        emitters = admitted()
        for number in (2, 1, 3, 2, 5):
            emitters.advance(header(number))
        [emitter] = emitters.take_missing_events()
        assert emitter.sequence == 2

    def test_a_gap_is_told_before_the_emitter_says_hello_to_a_new_process_of_the_relay(
        self,
    ) -> None:
        emitters = KnownEmitters([cursor(5, 41)])
        assert emitters.advance(header(43)) is SequenceVerdict.OUT_OF_SEQUENCE
        assert emitters.take_missing_events() == [only(emitters)]

    def test_a_gap_is_told_to_the_next_process_on_the_same_connection(self) -> None:
        emitters = admitted()
        emitters.advance(header(2))
        assert len(emitters.take_missing_events()) == 1
        emitters.admit(cursor(6), b"peer-1", gone)
        emitters.advance(header(2, epoch=6))
        assert len(emitters.take_missing_events()) == 1

    def test_a_gap_is_told_again_on_another_connection(self) -> None:
        emitters = admitted()
        emitters.advance(header(2))
        assert len(emitters.take_missing_events()) == 1
        emitters.admit(cursor(), b"peer-1", reached)
        emitters.advance(header(2))
        assert emitters.take_missing_events() == [], "the events are on their way"
        emitters.admit(cursor(), b"peer-2", reached)
        emitters.advance(header(2))
        assert len(emitters.take_missing_events()) == 1


class TestCommit:
    """Events that were taken become final, or are undone."""

    def test_cursors_are_those_that_move(self) -> None:
        emitters = admitted()
        emitters.admit(cursor(9, emitter_id=b"f" * 16), b"peer-2", gone)
        for number in (1, 2):
            emitters.advance(header(number))
        [progress] = emitters.take_progress()
        assert progress == (emitters.get(ID), 5, 2, True)
        assert [emitter.committed for emitter in emitters.commit([progress])] == [2]
        assert emitters.take_progress() == []

    def test_batches_on_their_way_move_on_one_after_the_other(self) -> None:
        emitters = admitted()
        batches = []
        for number in (1, 2, 3):
            emitters.advance(header(number))
            batches.append(emitters.take_progress())
        emitters.advance(header(2))
        batches.append(emitters.take_progress())
        assert [(each.sequence, each.has_moved) for [each] in batches] == [
            (1, True),
            (2, True),
            (3, True),
            (3, False),
        ]
        reached = []
        for batch in batches:
            [emitter] = emitters.commit(batch)
            reached.append(emitter.committed)
        assert reached == [1, 2, 3, 3]

    def test_a_batch_of_a_process_that_was_replaced_concerns_nobody(self) -> None:
        emitters = admitted()
        emitters.advance(header(1))
        progress = emitters.take_progress()
        emitters.admit(cursor(6), b"peer-2", gone)
        assert emitters.commit(progress) == []
        assert only(emitters).committed == 0

    def test_the_last_events_of_a_process_that_was_replaced_move_its_cursor(self) -> None:
        """Or they would be taken again if it comes back to the next process of the relay."""
        emitters = admitted()
        emitters.advance(header(1))
        emitters.admit(cursor(6), b"peer-2", gone)
        emitters.advance(header(1, epoch=6))
        progress = emitters.take_progress()
        assert [each[1:] for each in progress] == [(5, 1, True), (6, 1, True)]
        assert emitters.commit(progress) == [only(emitters)]
        assert emitters.take_progress() == []

    def test_a_process_that_was_replaced_moves_no_cursor_without_events(self) -> None:
        emitters = admitted()
        emitters.admit(cursor(6), b"peer-2", gone)
        assert emitters.take_progress() == []

    def test_the_last_events_of_a_replaced_process_are_rolled_back_with_the_others(self) -> None:
        emitters = admitted(epoch=2**64 - 1)
        emitters.advance(header(1, epoch=2**64 - 1))
        emitters.hand_out_epoch(ID, "manager-1", b"q" * 16, 100, gone)
        emitters.roll_back(())
        assert emitters.take_progress() == []

    def test_an_emitter_whose_first_events_are_on_their_way_is_not_forgotten(self) -> None:
        """Or a duplicate of them would be journaled as a new event."""
        emitters = admitted()
        emitters.advance(header(1))
        progress = emitters.take_progress()
        emitters.forget([], gone)
        emitters.commit(progress)
        assert emitters.advance(header(1)) is SequenceVerdict.DUPLICATE

    def test_a_duplicate_is_acknowledged_again_and_moves_nothing(self) -> None:
        """Its emitter has missed the acknowledgement."""
        emitters = KnownEmitters([cursor(5, 41)])
        emitters.admit(cursor(5, 40), b"peer", gone)
        emitters.advance(header(41))
        [progress] = emitters.take_progress()
        assert not progress.has_moved
        assert [emitter.committed for emitter in emitters.commit([progress])] == [41]

    def test_rolled_back_events_are_taken_again(self) -> None:
        emitters = admitted()
        emitters.advance(header(1))
        emitters.commit(emitters.take_progress())
        emitters.advance(header(2))
        progress = emitters.take_progress()
        emitters.advance(header(3))
        emitters.roll_back(progress)
        assert emitters.take_progress() == []
        assert (only(emitters).committed, only(emitters).as_dict()["taken"]) == (1, 1)
        assert emitters.advance(header(4)) is SequenceVerdict.OUT_OF_SEQUENCE
        assert len(emitters.take_missing_events()) == 1
        assert [emitters.advance(header(number)) for number in (2, 3)] == [SequenceVerdict.TAKE] * 2

    def test_a_second_hello_is_not_told_of_uncommitted_events(self) -> None:
        emitters = admitted()
        emitters.advance(header(1))
        assert emitters.admit(cursor(), b"peer-1", reached) == 0

    def test_a_gap_that_was_told_before_a_roll_back_is_told_again(self) -> None:
        """Otherwise the emitter would wait until its acknowledgements stall."""
        emitters = admitted()
        emitters.advance(header(2))
        assert len(emitters.take_missing_events()) == 1
        emitters.advance(header(1))
        emitters.roll_back([])
        emitters.advance(header(2))
        assert len(emitters.take_missing_events()) == 1


class TestHandOutEpoch:
    """A process without an epoch gets one above every epoch known of its id."""

    def test_the_same_process_gets_the_same_one_again(self) -> None:
        emitters = KnownEmitters(())
        epoch = emitters.hand_out_epoch(ID, "manager-1", b"p" * 16, 100, gone)
        emitters.admit(cursor(epoch), b"peer-1", gone, process=b"p" * 16)
        assert emitters.hand_out_epoch(ID, "manager-1", b"p" * 16, 200, reached) == epoch == 100

    def test_the_next_process_gets_a_greater_one_whatever_the_clock_says(self) -> None:
        emitters = admitted(epoch=5_000)
        assert emitters.hand_out_epoch(ID, "manager-1", b"q" * 16, 100, gone) == 5_001
        assert emitters.hand_out_epoch(ID, "manager-1", b"q" * 16, 9_000, gone) == 9_000

    def test_after_a_restart_of_the_relay_it_is_above_the_one_in_the_journal(self) -> None:
        emitters = KnownEmitters([cursor(5_000, 41)])
        assert emitters.hand_out_epoch(ID, "manager-1", b"q" * 16, 100, gone) == 5_001

    @pytest.mark.parametrize(("last", "following"), [(MAX_EPOCH - 1, MAX_EPOCH), (MAX_EPOCH, 100)])
    def test_the_greatest_epoch_is_handed_out_and_none_above_it(
        self, last: int, following: int
    ) -> None:
        emitters = admitted(epoch=last)
        assert emitters.hand_out_epoch(ID, "manager-1", b"q" * 16, 100, gone) == following

    def test_while_another_process_is_connected_it_gets_none(self) -> None:
        emitters = admitted()
        with pytest.raises(Refusal) as refused:
            emitters.hand_out_epoch(ID, "manager-1", b"q" * 16, 100, reached)
        assert refused.value.code == "emitter_in_use"

    def test_another_process_with_the_same_epoch_has_a_copy_of_the_spool(self) -> None:
        emitters = KnownEmitters([])
        emitters.admit(cursor(5), b"peer-1", reached, process=b"p" * 16)
        with pytest.raises(Refusal) as refused:
            emitters.admit(cursor(5), b"peer-2", reached, process=b"q" * 16)
        assert refused.value.code == "emitter_in_use"
        assert emitters.admit(cursor(5), b"peer-2", reached, process=b"p" * 16) == 0, "reconnected"
        assert emitters.admit(cursor(5), b"peer-3", gone, process=b"q" * 16) == 0, "its successor"
        assert emitters.admit(cursor(5), b"peer-3", reached, process=b"q" * 16) == 0

    def test_an_epoch_above_all_others_keeps_nobody_out(self) -> None:
        emitters = admitted(epoch=2**64 - 1)
        emitters.advance(header(1, epoch=2**64 - 1))
        epoch = emitters.hand_out_epoch(ID, "manager-1", b"q" * 16, 100, gone)
        assert epoch == 100
        assert [each.epoch for each in emitters.take_progress()] == [2**64 - 1, 100]
        assert emitters.admit(cursor(epoch), b"peer-2", gone, process=b"q" * 16) == 0
        assert emitters.advance(header(1, epoch=100)) is SequenceVerdict.TAKE

    def test_an_emitter_with_a_clock_of_its_own_gets_in_past_an_epoch_of_the_future(self) -> None:
        emitters = admitted(epoch=5_000)
        with pytest.raises(Refusal) as refused:
            emitters.admit(cursor(90), b"peer-2", gone, latest=5_000)
        assert refused.value.code == "stale_epoch", "it is an earlier process"
        with pytest.raises(Refusal):
            emitters.admit(cursor(90), b"peer-2", reached, latest=100)
        assert emitters.admit(cursor(90, acknowledged=3), b"peer-2", gone, latest=100) == 3
        assert emitters.advance(header(4, epoch=90)) is SequenceVerdict.TAKE


class TestProof:
    """An acknowledgement has a proof if the journal never goes behind it by itself."""

    def test_what_the_journal_has_may_have_one(self) -> None:
        emitters = KnownEmitters([cursor(5, 41)])
        assert not only(emitters).may_have_proof, "nobody is there to be told"
        emitters.admit(cursor(5, 30), b"peer", gone, latest=5)
        assert only(emitters).may_have_proof

    @pytest.mark.parametrize("journaled", [[], [cursor(5, 41)], [cursor(4, 60)]])
    def test_what_an_emitter_says_of_itself_has_none(self, journaled: list[Cursor]) -> None:
        emitters = KnownEmitters(journaled)
        emitters.admit(cursor(5, 50), b"peer", gone, latest=5)
        assert (only(emitters).committed, only(emitters).may_have_proof) == (50, False)
        emitters.advance(header(51))
        progress = emitters.take_progress()
        assert not only(emitters).may_have_proof, "it waits for the disk"
        emitters.commit(progress)
        assert (only(emitters).committed, only(emitters).may_have_proof) == (51, True)

    def test_another_acknowledgement_of_the_same_number_commits_nothing(self) -> None:
        emitters = KnownEmitters([])
        emitters.admit(cursor(5, 50), b"peer", gone, latest=5)
        emitters.advance(header(50))
        assert emitters.commit(emitters.take_progress()) == [only(emitters)]
        assert not only(emitters).may_have_proof

    @pytest.mark.parametrize("process", [b"", b"p"])
    def test_an_epoch_that_others_may_step_behind_has_none(self, process: bytes) -> None:
        emitters = KnownEmitters([])
        emitters.admit(cursor(101), b"peer", gone, process=process, latest=100)
        emitters.advance(header(1, 101))
        emitters.commit(emitters.take_progress())
        assert not only(emitters).may_have_proof
        emitters.admit(cursor(7, 0), b"peer-2", gone, latest=100)
        assert only(emitters).epoch == 7

    def test_an_epoch_of_the_past_is_never_stepped_behind(self) -> None:
        emitters = KnownEmitters([])
        emitters.admit(cursor(100), b"peer", gone, latest=100)
        with pytest.raises(Refusal):
            emitters.admit(cursor(99), b"peer-2", gone, latest=100)

    def test_what_is_in_a_journal_that_was_lost_has_none(self) -> None:
        emitters = KnownEmitters([cursor(5, 41)])
        emitters.admit(cursor(5, 41), b"peer", gone, latest=5)
        emitters.journal_was_replaced()
        assert not only(emitters).may_have_proof
        emitters.advance(header(42))
        emitters.commit(emitters.take_progress())
        assert only(emitters).may_have_proof


class TestDrops:
    """An emitter learns which of its events it has to send again."""

    def test_the_number_changes_with_each_drop_that_was_not_asked_for(self) -> None:
        emitters = admitted()
        numbers = [only(emitters).drops]
        emitters.note_dropped(header(1))
        numbers.append(only(emitters).drops)
        emitters.note_unasked(only(emitters))
        numbers.append(only(emitters).drops)
        emitters.advance(header(1))
        emitters.roll_back(())
        numbers.append(only(emitters).drops)
        assert len(set(numbers)) == 4

    def test_the_first_drop_after_a_restart_of_the_relay_changes_the_number(self) -> None:
        emitters = KnownEmitters([cursor(5, 41)])
        before = only(emitters).drops
        emitters.note_dropped(header(42))
        assert only(emitters).drops != before

    def test_the_number_stays_when_nothing_was_dropped_or_it_was_asked_for(self) -> None:
        emitters = admitted()
        before = only(emitters).drops
        emitters.advance(header(1))
        emitters.commit(emitters.take_progress())
        emitters.advance(header(1))
        emitters.advance(header(3))
        emitters.note_dropped(header(2, epoch=4))
        emitters.note_dropped(header(2, emitter_id=b"x" * 16))
        assert only(emitters).drops == before

    def test_an_emitter_that_was_forgotten_has_another_number(self) -> None:
        emitters = admitted()
        before = only(emitters).drops
        emitters.note_dropped(header(1))
        emitters.forget([], gone)
        emitters.admit(cursor(), b"peer-1", gone)
        assert only(emitters).drops != before
        emitters.request_dropped()
        assert emitters.take_missing_events() == [], "its hello says so"

    def test_the_dropped_events_are_asked_for_once_there_is_room(self) -> None:
        emitters = admitted()
        emitters.note_dropped(header(1))
        assert emitters.take_missing_events() == []
        emitters.request_dropped()
        assert emitters.take_missing_events() == [only(emitters)]
        emitters.advance(header(2))
        emitters.request_dropped()
        assert emitters.take_missing_events() == [], "they are on their way"


class TestForget:
    """Emitters are dropped that are neither in the journal nor connected."""

    def journaled(self) -> KnownEmitters:
        emitters = admitted()
        emitters.advance(header(1))
        emitters.commit(emitters.take_progress())
        return emitters

    def test_a_forgotten_emitter_has_to_say_hello(self) -> None:
        emitters = self.journaled()
        emitters.forget([ID, b"nobody was this!"], gone)
        assert emitters.get(ID) is None
        assert emitters.advance(header(2)) is SequenceVerdict.NOT_ADMITTED
        assert emitters.admit(cursor(acknowledged=1), b"peer", gone) == 1
        assert emitters.advance(header(2)) is SequenceVerdict.TAKE

    def test_one_that_is_connected_stays_however_silent(self) -> None:
        emitters = self.journaled()
        emitters.forget([ID], reached)
        assert emitters.advance(header(2)) is SequenceVerdict.TAKE

    def test_one_in_the_journal_stays_although_it_is_away(self) -> None:
        for emitters in (self.journaled(), KnownEmitters([cursor(5, 1)])):
            emitters.forget([], gone)
            assert emitters.advance(header(2)) is SequenceVerdict.TAKE

    def test_one_that_came_and_went_without_an_event_is_dropped(self) -> None:
        emitters = admitted()
        emitters.forget([], reached)
        assert emitters.get(ID) is not None
        emitters.forget([], gone)
        assert emitters.get(ID) is None


def test_an_emitter_without_a_cursor_makes_room_for_a_new_one() -> None:
    journaled = [cursor(emitter_id=n.to_bytes(16)) for n in range(MAX_KNOWN_EMITTERS - 1)]
    emitters = KnownEmitters(journaled)
    for letter in (b"a", b"b", b"c"):
        assert emitters.admit(cursor(emitter_id=letter * 16), b"peer", reached) == 0
    assert len(list(emitters)) == MAX_KNOWN_EMITTERS
    assert emitters.get(b"b" * 16) is None
    assert emitters.advance(header(1, emitter_id=b"b" * 16)) is SequenceVerdict.NOT_ADMITTED
    assert emitters.admit(cursor(emitter_id=b"b" * 16), b"peer", reached) == 0
    assert emitters.advance(header(1, emitter_id=b"b" * 16)) is SequenceVerdict.TAKE


def test_an_emitter_that_made_room_is_not_asked_for_its_dropped_events() -> None:
    journaled = [cursor(emitter_id=n.to_bytes(16)) for n in range(MAX_KNOWN_EMITTERS - 1)]
    emitters = KnownEmitters(journaled)
    emitters.admit(cursor(emitter_id=b"a" * 16), b"peer", reached)
    emitters.note_dropped(header(1, emitter_id=b"a" * 16))
    emitters.admit(cursor(emitter_id=b"b" * 16), b"peer", reached)
    emitters.request_dropped()
    assert emitters.take_missing_events() == []


def test_the_emitter_that_said_hello_longest_ago_makes_room() -> None:
    journaled = [cursor(emitter_id=n.to_bytes(16)) for n in range(MAX_KNOWN_EMITTERS - 2)]
    emitters = KnownEmitters(journaled)
    for letter in (b"a", b"b", b"a", b"c"):
        emitters.admit(cursor(emitter_id=letter * 16), b"peer", reached)
    assert emitters.get(b"b" * 16) is None
    assert emitters.get(b"a" * 16) is not None


def test_an_emitter_with_an_event_on_its_way_to_the_journal_stays() -> None:
    journaled = [cursor(emitter_id=n.to_bytes(16)) for n in range(MAX_KNOWN_EMITTERS - 2)]
    emitters = KnownEmitters(journaled)
    for letter in (b"a", b"b"):
        emitters.admit(cursor(emitter_id=letter * 16), b"peer", reached)
    emitters.advance(header(1, emitter_id=b"a" * 16))
    emitters.admit(cursor(emitter_id=b"c" * 16), b"peer", reached)
    emitters.commit(emitters.take_progress())
    emitters.admit(cursor(emitter_id=b"d" * 16), b"peer", reached)
    assert [emitters.get(each * 16) is None for each in (b"a", b"b", b"c", b"d")] == [
        False, True, True, False,
    ]  # fmt: skip


def test_to_make_room_costs_little_however_many_are_known() -> None:
    journaled = [cursor(emitter_id=n.to_bytes(16)) for n in range(MAX_KNOWN_EMITTERS - 1)]
    emitters = KnownEmitters(journaled)
    emitters.admit(cursor(emitter_id=b"a" * 16), b"peer", reached)
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        emitters.admit(cursor(emitter_id=b"b" * 16), b"peer", reached)
    finally:
        sys.setprofile(None)
    assert emitters.get(b"a" * 16) is None
    assert calls < 50


def test_a_claim_takes_no_event_from_the_cursor_that_is_journaled() -> None:
    """Otherwise the journal would have the event and not its number, and take it once more."""
    emitters = admitted()
    emitters.advance(header(1))
    on_its_way = emitters.take_progress()
    emitters.advance(header(2))
    emitters.commit(on_its_way)
    assert emitters.admit(cursor(acknowledged=2), b"peer", gone) == 2
    moved = [each.sequence for each in emitters.take_progress() if each.has_moved]
    assert moved == [2]
