"""The stream of revocations: read as a whole, followed, read again, and never forgotten."""

from collections.abc import Iterable

from edge.core.identity.access import Identity
from edge.core.identity.revocations import Revocations
from edge.core.stats import EdgeStats
from edge.core.streams.record import LostRecord, Record
from edge.core.streams.revocation_stream import RevocationStream
from relay.wire.envelope import Envelope, pack_envelope
from relay.wire.revocations import Revocation
from relay.wire.topics import REVOCATION, reserved_topic

NOW = 1_000_000


class TakenRevocations:
    """Remembers what it is told; a `RevocationTaker`."""

    def __init__(self) -> None:
        self.news: list[Revocation] = []
        self.lost: list[Revocation] = []

    def revoked(self, revocation: Revocation) -> None:
        """Remember."""
        self.news.append(revocation)

    def journal_lacks(self, revocations: Iterable[Revocation]) -> None:
        """Remember."""
        self.lost += revocations


class Read:
    """A stream of revocations and all around it."""

    def __init__(self) -> None:
        self.revocations = Revocations()
        self.taken = TakenRevocations()
        self.stats = EdgeStats()
        self.warnings: list[str] = []
        self.stream = RevocationStream(
            self.revocations,
            self.taken,
            self.stats,
            lambda: NOW,
            lambda cause, *_: self.warnings.append(cause),
        )

    def lets_in(self) -> bool:
        return self.revocations.is_known

    def refuses(self, username: str, issued_ms: int) -> bool:
        issued_at = issued_ms / 1000
        return self.revocations.refuses(
            Identity(username, "user", 2**40, issued_at=issued_at, token_id="x")
        )


def record(offset: int, username: str = "ann", data: object = None, scope: str = "user") -> Record:
    envelope = Envelope(
        REVOCATION, {"username": username} if data is None else data, None, "", 1, "x"
    )
    topic = reserved_topic(REVOCATION, scope)
    return Record(topic, offset, offset * 100, pack_envelope(envelope, REVOCATION))


def tips(last: int) -> dict[str, int]:
    return {"event": 50, REVOCATION: last}


def test_nobody_is_let_in_before_the_stream_is_read_to_its_end() -> None:
    edge = Read()
    edge.stream.synchronize(7, tips(3))
    assert not edge.lets_in()
    assert edge.stream.replay_request() == 0
    assert edge.stream.replay_request() is None, "one at a time"
    assert edge.stream.take_replay(7, [record(1), record(2, "bob")], 1, 3) is True
    assert not edge.lets_in()
    assert edge.stream.replay_request() == 2
    assert edge.stream.take_replay(7, [record(3, "carol")], 1, 3) is True
    assert edge.lets_in()
    assert edge.taken.news == [
        Revocation(100, "ann"),
        Revocation(200, "bob"),
        Revocation(300, "carol"),
    ]
    assert edge.stats.events_filtered[REVOCATION] == 3


def test_an_empty_stream_and_a_relay_without_one_are_known_at_once() -> None:
    for last_offsets in (tips(0), {"event": 5}):
        edge = Read()
        edge.stream.synchronize(7, last_offsets)
        assert edge.lets_in()
        assert not edge.stream.is_behind


def test_later_ones_are_taken_as_they_come_and_missed_ones_are_requested() -> None:
    edge = Read()
    edge.stream.synchronize(7, tips(0))
    edge.stream.take_event(7, record(1))
    assert edge.refuses("ann", 100)
    assert not edge.refuses("ann", 101)
    edge.stream.take_event(7, record(3, "bob"))
    assert not edge.refuses("bob", 1)
    assert edge.stats.dropped.out_of_order[REVOCATION] == 1
    assert edge.stream.replay_request() == 1
    edge.stream.take_replay(7, [record(2, "carol"), record(3, "bob")], 1, 3)
    assert edge.refuses("bob", 1)
    assert edge.refuses("carol", 1)
    edge.stream.take_event(7, record(2, "carol"))
    assert edge.stats.dropped.repeated[REVOCATION] == 1
    edge.stream.take_heartbeat(tips(4))
    assert edge.stream.replay_request() == 3
    edge.stream.forget_request()
    assert edge.stream.replay_request() == 3
    assert edge.taken.lost == []


def test_in_the_same_epoch_it_goes_on_at_its_place() -> None:
    edge = Read()
    edge.stream.synchronize(7, tips(0))
    edge.stream.take_event(7, record(1))
    edge.stream.synchronize(7, tips(2))
    assert edge.stream.replay_request() == 1
    edge.stream.synchronize(7, tips(2))
    assert edge.stream.replay_request() == 1, "the one before was lost with the relay"


def test_events_of_another_epoch_are_left_out() -> None:
    edge = Read()
    edge.stream.synchronize(7, tips(0))
    edge.stream.take_event(6, record(1))
    assert not edge.refuses("ann", 1)
    assert edge.stream.take_replay(6, [record(1)], 1, 1) is False
    assert Read().stream.take_replay(7, [record(1)], 1, 1) is False


def test_a_new_journal_is_told_what_it_lacks() -> None:
    edge = Read()
    edge.stream.synchronize(7, tips(0))
    edge.stream.take_event(7, record(1))
    edge.stream.take_event(7, record(2, "bob"))
    for epoch, last in ((8, 1), (9, 1)):
        edge.taken.lost.clear()
        edge.stream.synchronize(epoch, tips(last))
        assert edge.refuses("ann", 100), "nothing is forgotten meanwhile"
        assert edge.lets_in()
        edge.stream.take_replay(epoch, [record(1)], 1, 1)
        assert edge.taken.lost == [Revocation(200, "bob")]


def test_a_journal_that_ends_before_our_place_is_read_anew() -> None:
    edge = Read()
    edge.stream.synchronize(7, tips(0))
    edge.stream.take_event(7, record(1))
    edge.stream.synchronize(7, tips(0))
    assert edge.taken.lost == [Revocation(100, "ann")]


def test_when_revocations_were_removed_all_older_tokens_are_refused() -> None:
    edge = Read()
    edge.stream.synchronize(7, tips(6))
    edge.stream.take_replay(7, [record(5), record(6)], 5, 6)
    assert edge.refuses("bob", 500)
    assert not edge.refuses("bob", 501)
    assert edge.stats.retention[REVOCATION] == 4
    assert edge.taken.news[0] == Revocation(500)
    assert edge.warnings == ["hole"]


def test_when_one_cannot_be_read_all_older_tokens_are_refused() -> None:
    edge = Read()
    edge.stream.synchronize(7, tips(3))
    edge.stream.take_replay(7, [record(1), LostRecord(REVOCATION, 2), record(3)], 1, 3)
    assert edge.refuses("bob", 300)
    assert not edge.refuses("bob", 301)
    edge.stream.take_heartbeat(tips(4))
    edge.stream.take_replay(7, [LostRecord(REVOCATION, 4)], 1, 4)
    assert edge.refuses("bob", NOW)
    assert not edge.refuses("bob", NOW + 1)
    assert edge.stats.malformed["damaged"] == 2


def test_one_that_is_not_understood_is_counted_and_stops_nothing() -> None:
    edge = Read()
    edge.stream.synchronize(7, tips(0))
    edge.stream.take_event(7, record(1, data={"username": 5}))
    edge.stream.take_event(7, record(2, scope="planet"))
    edge.stream.take_event(7, Record(reserved_topic(REVOCATION, "user"), 3, 300, b"\xc1"))
    edge.stream.take_event(7, record(4, "bob"))
    assert edge.refuses("bob", 1)
    assert edge.stats.malformed["invalid_envelope"] == 3
    assert edge.warnings == ["malformed"] * 3
