"""The relay ends orphaned tasks once, with updates that it numbers and journals."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from relay.core.emitters import Cursor, KnownEmitter
from relay.core.orphans import ORPHANED_MESSAGE
from relay.core.retained import task_key
from relay.core.retention import Limits
from relay.task_watch import TaskWatch
from relay.wire.envelope import Envelope, pack_envelope, unpack_envelope
from relay.wire.header import Header, pack_header, unpack_stamp
from tests.relay.sequencing import Sequencing

ID = b"e" * 16
NOW_MS = 1_790_000_000_000
GRACE_S = 30.0
INTERVAL_S = 20.0


class Parts:
    """A task watch over a real journal; `here` are the ids of connected emitters."""

    def __init__(self, path: Path) -> None:
        self.parts = Sequencing(path, task_grace_s=GRACE_S)
        self.state = self.parts.state
        self.here: set[bytes] = set()
        self.watch = TaskWatch(self.state, self._reach, INTERVAL_S)

    def hello(self, epoch: int = 1, sequence: int = 0) -> KnownEmitter:
        """The emitter `ID` says hello."""
        self.here.add(ID)
        self.state.emitters.admit(Cursor(ID, "m", epoch, sequence), b"peer", lambda _: False)
        emitter = self.state.emitters.get(ID)
        assert emitter is not None
        return emitter

    def send(
        self, topic: str, sequence: int, status: str = "in_progress", *, bound: bool = True
    ) -> None:
        """Take and commit one update of the emitter."""
        data = {"status": status, "message": "m", "result": None, "username": "alice"}
        envelope = Envelope("task_update", data, "alice", "m", 5, f"id-{sequence}", bound)
        header = pack_header(Header(ID, 1, sequence))
        self.state.intake.take([topic.encode(), header, pack_envelope(envelope, "task")], NOW_MS)
        self.commit()

    def commit(self) -> list[tuple[str, str]]:
        """Commit what was taken; return topics and statuses of the published updates."""
        events = self.parts.commit().events
        return [
            (topic.decode(), unpack_envelope(payload, "task").data["status"])
            for topic, _, payload in events
        ]

    def look(self, now: float) -> list[tuple[str, str]]:
        """End orphans; return what was published."""
        return self.commit() if self.watch.end_orphans(now, NOW_MS) else []

    def _reach(self, emitter: KnownEmitter) -> bool:
        return emitter.emitter_id in self.here


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    parts = Parts(tmp_path / "journal.db")
    parts.hello()
    with closing(parts.parts):
        yield parts


def test_an_orphaned_task_ends_once(parts: Parts) -> None:
    parts.send("task:1", 1)
    assert parts.look(0.0) == []
    parts.here.clear()
    assert parts.look(1.0) == []
    assert parts.look(30.0) == []
    assert parts.look(31.0) == [("task:1", "error")]
    assert parts.look(32.0) == parts.look(100.0) == []
    frames = parts.state.retained.get(task_key("task:1", "alice"))
    assert frames is not None
    assert unpack_stamp(frames[1]).offset == 2, "numbered after the emitter's own update"
    final = unpack_envelope(frames[2], "task")
    assert (final.data["message"], final.username, final.source) == (ORPHANED_MESSAGE, "alice", "m")
    assert parts.parts.published.read("task", 1, 10, 2**20) == [frames]
    assert parts.state.counters.relayed["task"] == parts.state.counters.received == 2


def test_a_standstill_of_the_relay_is_no_absence_of_the_emitter(parts: Parts) -> None:
    """The messages that the emitter sent meanwhile wait in the socket."""
    parts.send("task:1", 1)
    parts.here.clear()
    parts.look(0.0)
    assert parts.look(29.0 + 2 * INTERVAL_S) == []
    assert parts.look(30.0 + 3 * INTERVAL_S) == []
    parts.here.add(ID)
    assert parts.look(200.0) == parts.look(229.0) == []
    parts.here.clear()
    assert parts.look(240.0) == parts.look(260.0) == []
    assert parts.look(270.0) == [("task:1", "error")]


def test_a_late_update_wins(parts: Parts) -> None:
    parts.send("task:1", 1)
    parts.here.clear()
    parts.look(0.0)
    assert parts.look(30.0) == [("task:1", "error")]
    parts.hello()
    parts.send("task:1", 2)
    assert parts.look(100.0) == []
    parts.send("task:1", 3, "success")
    parts.here.clear()
    assert parts.look(101.0) == parts.look(200.0) == []


def test_tasks_of_others_are_left_alone(parts: Parts) -> None:
    """Of scripts that publish with one process a state, of plain publishers, finished ones."""
    parts.send("task:script", 1, bound=False)
    parts.send("task:done", 2, "success")
    parts.send("task:paused", 3, "paused")
    data = {"status": "in_progress"}
    envelope = pack_envelope(Envelope("task_update", data, "alice", "m", 5, "id", True), "task")
    parts.state.intake.take([b"task:plain", envelope], NOW_MS)
    parts.commit()
    parts.here.clear()
    assert parts.look(0.0) == parts.look(GRACE_S) == []
    assert len(parts.state.owners) == 0, "they are looked at once"


def test_the_tasks_of_an_earlier_process_with_that_name_end(parts: Parts) -> None:
    parts.send("task:1", 1)
    parts.hello(epoch=2)
    assert parts.look(0.0) == []
    assert parts.look(30.0) == [("task:1", "error")]


def test_the_tasks_that_a_spool_brings_from_an_earlier_process_end(parts: Parts) -> None:
    """The process that goes on with the spool has the same epoch, and is connected."""
    parts.send("task:earlier", 1)
    parts.hello(sequence=1).inherited = 2
    parts.send("task:spooled", 2)
    parts.send("task:own", 3)
    assert parts.look(0.0) == []
    assert parts.look(30.0) == [("task:earlier", "error"), ("task:spooled", "error")]
    assert parts.look(100.0) == []


@pytest.mark.parametrize("is_retired", [True, False])
@pytest.mark.parametrize("comes_back", [True, False])
def test_after_a_restart_of_the_relay_the_owners_are_known(
    tmp_path: Path, comes_back: bool, is_retired: bool
) -> None:
    """Also of states that retention has removed."""
    path = tmp_path / "journal.db"
    with closing((before := Parts(path)).parts):
        before.hello()
        before.send("task:other", 1, "success")
        before.send("task:1", 2)
        if is_retired:
            before.send("task:other", 3, "success")
            before.parts.journal.retire(Limits(0, 0), NOW_MS + 10**9)
    with closing((after := Parts(path)).parts):
        assert after.look(0.0) == []
        if comes_back:
            after.hello(sequence=3)
        assert after.look(30.0) == ([] if comes_back else [("task:1", "error")])
    with closing((last := Parts(path)).parts):
        assert last.look(0.0) == []
        assert last.look(30.0) == ([("task:1", "error")] if comes_back else []), "once"


def test_while_the_journal_cannot_be_written_the_task_waits(parts: Parts) -> None:
    parts.send("task:1", 1)
    parts.here.clear()
    parts.look(0.0)
    parts.state.intake.journaling = False
    assert not parts.watch.end_orphans(30.0, NOW_MS)
    parts.state.intake.journaling = True
    assert parts.look(31.0) == [("task:1", "error")]


def test_an_end_that_waits_for_the_disk_is_not_repeated(parts: Parts) -> None:
    parts.hello()
    parts.send("task:1", 1)
    parts.here.clear()
    assert not parts.watch.end_orphans(0.0, NOW_MS)
    assert parts.watch.end_orphans(GRACE_S, NOW_MS)
    parts.parts.sequencer.hand_over(NOW_MS)
    assert not parts.watch.end_orphans(GRACE_S + 1, NOW_MS)
    assert [topic for topic, _, _ in parts.parts.settle().events] == [b"task:1"]
    assert parts.look(GRACE_S + 2) == []
