"""Acknowledged events are in the journal, once and in order, whatever fails."""

from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from relay.core.emitters import (
    Cursor,
    KnownEmitter,
    KnownEmitters,
    Progress,
    Refusal,
    SequenceVerdict,
)
from relay.wire.header import Header

LIAR = b"x" * 16


def gone(_: KnownEmitter) -> bool:
    """No emitter is connected."""
    return False


def reached(_: KnownEmitter) -> bool:
    """Every emitter is connected."""
    return True


class EmittersModel(RuleBasedStateMachine):
    """Processes, their links and the relay, with every possible failure in any order."""

    ids = Bundle("ids")

    def __init__(self) -> None:
        super().__init__()
        self.journal: dict[tuple[bytes, int], list[int]] = {}
        self.cursors: dict[bytes, Cursor] = {}
        self.batch: list[Header] = []
        self.emitters = KnownEmitters(())
        self.flights: list[tuple[list[Header], list[Progress]]] = []
        """Batches that wait for the disk."""
        self.live: dict[bytes, int] = {}
        """The epoch of the newest process, by emitter id."""
        self.acknowledged: dict[bytes, int] = {}
        """The last number that was acknowledged to that process, by emitter id."""

    @rule(target=ids, letter=st.sampled_from([b"a", b"b"]))
    def start_process(self, letter: bytes) -> bytes:
        """A process begins, or replaces one that was killed."""
        emitter_id = letter * 16
        self.live[emitter_id] = self.live.get(emitter_id, 0) + 1
        self.acknowledged[emitter_id] = 0
        self.say_hello(emitter_id)
        return emitter_id

    @rule(emitter_id=ids)
    def say_hello(self, emitter_id: bytes) -> None:
        epoch = self.live[emitter_id]
        acknowledged = self.acknowledged[emitter_id]
        sequence = self.emitters.admit(Cursor(emitter_id, "m", epoch, acknowledged), b"peer", gone)
        assert sequence == len(self.journal.get((emitter_id, epoch), []))
        self.acknowledged[emitter_id] = sequence

    @rule(emitter_id=ids)
    def a_stale_process_says_hello(self, emitter_id: bytes) -> None:
        older = Cursor(emitter_id, "m", self.live[emitter_id] - 1, 0)
        known = self.emitters.get(emitter_id)
        if known is None or known.epoch < self.live[emitter_id]:
            return  # The relay was restarted and does not know the newer process.
        with pytest.raises(Refusal):
            self.emitters.admit(older, b"peer", reached)

    @rule(
        emitter_id=ids,
        ahead=st.integers(-3, 4),
        count=st.integers(1, 5),
        epochs_ago=st.sampled_from([0, 0, 0, 0, 1]),
    )
    def send(self, emitter_id: bytes, ahead: int, count: int, epochs_ago: int) -> None:
        """Events arrive: the next ones, some again, or some after a gap."""
        emitter = self.emitters.get(emitter_id)
        at = 0 if emitter is None else emitter.sequence
        for sequence in range(max(1, at + ahead), max(1, at + ahead) + count):
            sent = Header(emitter_id, self.live[emitter_id] - epochs_ago, sequence)
            if self.emitters.advance(sent) is SequenceVerdict.TAKE:
                self.batch.append(sent)

    @rule(beyond=st.integers(1, 5))
    def a_liar_claims_more_than_it_has(self, beyond: int) -> None:
        """It is the only process of its id."""
        known = self.emitters.get(LIAR)
        claimed = (0 if known is None else known.committed) + beyond
        self.live[LIAR] = 1
        assert self.emitters.admit(Cursor(LIAR, "m", 1, claimed), b"peer", gone) == claimed

    @rule()
    def a_liar_goes_on(self) -> None:
        known = self.emitters.get(LIAR)
        if known is not None:
            sent = Header(LIAR, 1, known.sequence + 1)
            assert self.emitters.advance(sent) is SequenceVerdict.TAKE
            self.batch.append(sent)

    @rule()
    def hand_over(self) -> None:
        """The batch goes to the journal, where it waits for the disk."""
        self.flights.append((self.batch, self.emitters.take_progress()))
        self.batch = []

    @rule()
    def commit(self) -> None:
        """The oldest batch that waits is journaled."""
        if not self.flights:
            return
        batch, progress = self.flights.pop(0)
        for each in batch:
            self.journal.setdefault((each.emitter_id, each.epoch), []).append(each.sequence)
        for emitter, epoch, sequence, has_moved in progress:
            if has_moved:
                cursor = Cursor(emitter.emitter_id, emitter.name, epoch, sequence)
                self.cursors[emitter.emitter_id] = cursor
        for emitter in self.emitters.commit(progress):
            if emitter.emitter_id != LIAR and emitter.epoch == self.live[emitter.emitter_id]:
                self.acknowledged[emitter.emitter_id] = emitter.committed

    @rule()
    def fail(self) -> None:
        """The journal cannot be written."""
        self.emitters.roll_back(each for _, progress in self.flights for each in progress)
        self.flights = []
        self.batch = []

    @rule()
    def restart_relay(self) -> None:
        """Events that are not committed are gone, as after `kill -9`."""
        self.flights = []
        self.batch = []
        self.emitters = KnownEmitters(self.cursors.values())

    @invariant()
    def every_number_is_journaled_once_and_in_order(self) -> None:
        for (emitter_id, _), numbers in self.journal.items():
            if emitter_id != LIAR:
                assert numbers == list(range(1, len(numbers) + 1))

    @invariant()
    def nothing_has_a_proof_that_is_not_in_the_journal(self) -> None:
        for emitter in self.emitters:
            if emitter.may_have_proof:
                assert emitter.committed in self.journal[emitter.emitter_id, emitter.epoch]

    @invariant()
    def an_event_in_the_journal_has_a_proof(self) -> None:
        for emitter_id, sequence in self.acknowledged.items():
            emitter = self.emitters.get(emitter_id)
            if sequence and emitter is not None and emitter.peer is not None:
                assert emitter.may_have_proof

    @invariant()
    def what_is_acknowledged_is_in_the_journal(self) -> None:
        for emitter_id, sequence in self.acknowledged.items():
            journaled = self.journal.get((emitter_id, self.live[emitter_id]), [])
            assert sequence <= len(journaled)

    @invariant()
    def cursors_and_events_agree(self) -> None:
        for each in self.cursors.values():
            assert each.sequence == self.journal[each.emitter_id, each.epoch][-1]

    @invariant()
    def nothing_is_lost_while_the_journal_is_whole(self) -> None:
        assert self.emitters.lost_by_rollback == 0


TestEmittersModel: Any = EmittersModel.TestCase
