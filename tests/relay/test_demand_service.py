"""Emitters are told of the demand: at once, together when it changes quickly, and again."""

import pytest

from relay.core.demand import Demand
from relay.demand_service import (
    MAX_FOLLOWERS,
    MAX_TOLD_CHANGES,
    NOTICE_INTERVAL_S,
    TICK_S,
    DemandService,
)
from relay.wire.control import ErrorReply
from relay.wire.demand import pack_digests, unpack_digests
from relay.wire.demand_messages import DemandReply, DemandRequest, WatchedRequest
from relay.wire.notices import DemandNotice, unpack_notice

EPOCH = 7


class Emitters:
    """A service, one edge, and emitters that note what they are told."""

    def __init__(self) -> None:
        self.now = 100.0
        self.told: list[tuple[bytes, DemandNotice]] = []
        self.gone: set[bytes] = set()
        self.service = DemandService(Demand(EPOCH), self._tell, self.now)
        self._version = 0

    def change(self, watch: list[int], unwatch: list[int] | None = None) -> None:
        """The edge reports a change."""
        request = DemandRequest(
            id=1,
            edge=b"e" * 16,
            after=self._version,
            version=self._version + 1,
            watch=pack_digests(watch),
            unwatch=pack_digests(unwatch or []),
        )
        self._version += 1
        assert self.service.report(request, self.now) == DemandReply(id=1, version=self._version)
        self.service.tick(self.now)

    def pass_time(self, seconds: float) -> None:
        """Turn the relay's loop when something is due, and at the end."""
        end = self.now + seconds
        while (due_at := self.service.due_at()) <= end:
            self.now = max(self.now, due_at)
            self.service.tick(self.now)
        self.now = end

    def follow(self, peer: bytes = b"a") -> None:
        self.service.answer(peer, WatchedRequest(id=1, epoch=0, after=0))

    def take(self) -> list[DemandNotice]:
        taken, self.told = [notice for _, notice in self.told], []
        return taken

    def _tell(self, peer: bytes, frame: bytes) -> bool:
        notice = unpack_notice(frame)
        assert isinstance(notice, DemandNotice)
        self.told.append((peer, notice))
        return peer not in self.gone


@pytest.fixture
def emitters() -> Emitters:
    return Emitters()


def test_the_first_change_is_told_at_once(emitters: Emitters) -> None:
    emitters.follow()
    emitters.change([1])
    assert emitters.take() == [DemandNotice(EPOCH, 0, 1, pack_digests([1]), b"")]


def test_who_toggles_quickly_does_not_load_every_emitter(emitters: Emitters) -> None:
    emitters.follow()
    emitters.pass_time(TICK_S)
    emitters.take()
    for _ in range(76):
        emitters.change([1])
        emitters.pass_time(1 / 152)
        emitters.change([], [1])
        emitters.pass_time(1 / 152)
    # One second: the notices of changes, and one or two of the version.
    assert len(emitters.take()) <= 1 / NOTICE_INTERVAL_S + 4


def test_changes_that_wait_are_told_together_with_their_last_state(emitters: Emitters) -> None:
    emitters.follow()
    emitters.change([1])
    emitters.take()
    emitters.change([2, 3])
    emitters.change([4], [2])
    assert emitters.take() == []
    emitters.pass_time(NOTICE_INTERVAL_S)
    [notice] = emitters.take()
    assert (notice.after, notice.version) == (1, 5)
    assert sorted(unpack_digests(notice.watch)) == [3, 4]
    assert list(unpack_digests(notice.unwatch)) == [2]


def test_many_changes_are_named_by_their_version_alone(emitters: Emitters) -> None:
    emitters.follow()
    emitters.change(list(range(MAX_TOLD_CHANGES + 1)))
    version = MAX_TOLD_CHANGES + 1
    assert emitters.take() == [DemandNotice(EPOCH, version, version, b"", b"")]


def test_the_version_is_told_every_second(emitters: Emitters) -> None:
    emitters.follow()
    emitters.change([1])
    emitters.take()
    emitters.pass_time(3 * TICK_S)
    assert emitters.take() == [DemandNotice(EPOCH, 1, 1, b"", b"")] * 3


def test_an_emitter_that_is_gone_or_never_asked_is_not_told(emitters: Emitters) -> None:
    emitters.follow(b"a")
    emitters.follow(b"b")
    emitters.gone.add(b"a")
    emitters.change([1])
    emitters.take()
    emitters.pass_time(TICK_S)
    assert {peer for peer, _ in emitters.told} == {b"b"}


def test_the_emitters_that_are_told_are_bounded(emitters: Emitters) -> None:
    for number in range(MAX_FOLLOWERS + 1):
        emitters.follow(b"%d" % number)
    emitters.change([1])
    assert len(emitters.take()) == MAX_FOLLOWERS


def test_an_emitter_that_is_a_little_behind_gets_the_changes(emitters: Emitters) -> None:
    emitters.change([1, 2])
    emitters.change([3], [1])
    reply = emitters.service.answer(b"a", WatchedRequest(id=5, epoch=EPOCH, after=2))
    assert (reply.snapshot, reply.after, reply.version) == (False, 2, 4)
    assert (unpack_digests(reply.watch)[0], unpack_digests(reply.unwatch)[0]) == (3, 1)


@pytest.mark.parametrize("question", [(0, 0), (EPOCH + 1, 3), (EPOCH, 99)])
def test_any_other_emitter_gets_all(emitters: Emitters, question: tuple[int, int]) -> None:
    emitters.change([1, 2])
    epoch, after = question
    reply = emitters.service.answer(b"a", WatchedRequest(id=5, epoch=epoch, after=after))
    assert (reply.snapshot, reply.epoch, reply.version, reply.next) == (True, EPOCH, 2, None)
    assert list(unpack_digests(reply.watch)) == [1, 2]


def test_a_report_beyond_a_bound_is_answered_with_an_error(
    emitters: Emitters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.core.demand.MAX_TOPICS", 1)
    request = DemandRequest(id=3, edge=b"e" * 16, after=0, version=1, watch=pack_digests([1, 2]))
    reply = emitters.service.report(request, emitters.now)
    assert isinstance(reply, ErrorReply)
    assert (reply.id, reply.code) == (3, "bad_request")
