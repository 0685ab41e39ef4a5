"""With a spool not even a killed emitter loses or doubles an event."""

import mmap
import random
import re
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from emitters import Emitter, OutboxFull
from relay.wire.envelope import Envelope
from tests.emitters.relay_control import emitter_stats, read_journal
from tests.support.cluster import Cluster
from tests.support.processes import ManagedProcess, python, run_cli
from tests.support.waiting import wait_for

CLOSE_S = 30.0
COUNTER = struct.Struct("!Q")

WRITER = """\
import mmap, struct, sys
from emitters import Emitter, OutboxFull
spool, returned, run = sys.argv[1], sys.argv[2], int(sys.argv[3])
with open(returned, "r+b") as file:
    memory = mmap.mmap(file.fileno(), 8)
emitter = Emitter(name="manager-1", spool=spool, block_timeout_s=60)
n = 0
while True:
    n += 1
    emitter.emit("event:x", {"run": run, "n": n})
    memory[:] = struct.pack("!Q", n)
"""

OUT_OF_DISK = """\
import os, resource, sys, threading
from emitters import Emitter, SpoolUnavailable
spool = sys.argv[1]
emitter = Emitter(name="manager-1", spool=spool)
def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
def emit(count):
    refused = 0
    for _ in range(count):
        try:
            emitter.emit("event:x", {"n": taken + 1 if not refused else -1, "filler": "x" * 500})
        except SpoolUnavailable as error:
            refused += 1
            print("refused:", error, flush=True)
            break
        else:
            count_taken()
    return refused
taken = 0
def count_taken():
    global taken
    taken += 1
assert emit(10) == 0
limit(os.path.getsize(spool + "-wal") + 20_000)
assert emit(1_000) == 1
print("taken until then:", taken, flush=True)
limit(resource.RLIM_INFINITY)
assert emit(10) == 0
print("taken:", taken, flush=True)
threading.Event().wait()
"""


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "manager-1.spool"


class Returned:
    """The number of `emit` calls that returned in another process, even a killed one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_bytes(bytes(COUNTER.size))
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), COUNTER.size)

    def wait_for(self, count: int) -> None:
        """Wait until `count` calls have returned."""
        wait_for(lambda: self._count() >= count, f"the writer emits {count} events", 20)

    def take_count(self) -> int:
        """Return the number and reset it to 0."""
        found = self._count()
        self._memory[:] = bytes(COUNTER.size)
        return found

    def _count(self) -> int:
        found: int = COUNTER.unpack(self._memory[:])[0]
        return found

    def close(self) -> None:
        """Forget about it."""
        self._memory.close()


@pytest.fixture
def returned(tmp_path: Path) -> Iterator[Returned]:
    returned = Returned(tmp_path / "returned")
    yield returned
    returned.close()


def start_writer(cluster: Cluster, spool: Path, returned: Returned, run: int) -> ManagedProcess:
    """Start a process that emits as fast as it can."""
    command = python("-c", WRITER, str(spool), str(returned.path), str(run))
    return cluster.start_forked(f"writer-{run}", command)


def drain(cluster: Cluster, spool: Path) -> None:
    """Send the events that are left in the spool to the relay."""
    emitter = Emitter(spool=spool, ingress=cluster.ingress, control=cluster.control)
    assert emitter.close(CLOSE_S) == 0


def check_runs(events: list[Envelope], returned: dict[int, int]) -> None:
    """Each run's events are there once, in order, and none that `emit` returned for is missing."""
    assert [event.data["run"] for event in events] == sorted(event.data["run"] for event in events)
    for run, count in returned.items():
        numbers = [event.data["n"] for event in events if event.data["run"] == run]
        assert numbers == list(range(1, len(numbers) + 1))
        assert count <= len(numbers) <= count + 1, f"run {run}"


@pytest.mark.parametrize("seed", [1, 2])
def test_a_killed_emitters_events_are_journaled_once_and_in_order(
    cluster: Cluster, spool: Path, returned: Returned, seed: int
) -> None:
    """Killed at any moment, six times, and the relay twice in between."""
    chance = random.Random(seed)
    relay = cluster.start_relay()
    counts: dict[int, int] = {}
    for run in range(6):
        writer = start_writer(cluster, spool, returned, run)
        returned.wait_for(chance.randrange(1, 3_000))
        if run in (2, 4):
            relay.kill()
        writer.kill()
        counts[run] = returned.take_count()
        if run in (2, 4):
            relay = cluster.start_relay()
    drain(cluster, spool)
    check_runs(read_journal(cluster.control), counts)


def test_what_was_emitted_without_a_relay_comes_first_when_there_is_one(
    cluster: Cluster, spool: Path, returned: Returned
) -> None:
    writer = start_writer(cluster, spool, returned, 0)
    returned.wait_for(100)
    writer.kill()
    cluster.start_relay()
    emitter = Emitter(
        name="manager-1", spool=spool, ingress=cluster.ingress, control=cluster.control
    )
    emitter.emit("event:x", {"run": 1, "n": 1})
    assert emitter.close(CLOSE_S) == 0
    events = read_journal(cluster.control)
    check_runs(events, {0: returned.take_count(), 1: 1})
    stats = emitter_stats(cluster.control, "manager-1")
    assert stats["sequence"] == stats["reported"]["accepted"] == len(events)
    assert stats["reported"]["acknowledged"] == len(events)


def test_many_threads_share_a_spool(cluster: Cluster, spool: Path) -> None:
    """The first half of their events is there before the relay, and goes out by another emitter."""

    def emit_some(emitter: Emitter, run: int, numbers: range) -> None:
        for number in numbers:
            emitter.emit("event:x", {"run": run, "n": number})

    for numbers in (range(1, 151), range(151, 301)):
        emitter = Emitter(
            name="manager-1", spool=spool, ingress=cluster.ingress, control=cluster.control
        )
        threads = [
            threading.Thread(target=emit_some, args=(emitter, run, numbers)) for run in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if numbers.start == 1:
            assert emitter.close(0) == 600
            cluster.start_relay()
    assert emitter.close(CLOSE_S) == 0
    events = read_journal(cluster.control)
    for run in range(4):
        own = [event.data["n"] for event in events if event.data["run"] == run]
        assert own == list(range(1, 301))


def test_closing_says_how_many_are_kept_and_keeps_them(cluster: Cluster, spool: Path) -> None:
    emitter = Emitter(
        name="manager-1", spool=spool, ingress=cluster.ingress, control=cluster.control
    )
    for number in range(1, 4):
        emitter.emit("event:x", {"run": 0, "n": number})
    assert emitter.close(0) == 3
    cluster.start_relay()
    drain(cluster, spool)
    check_runs(read_journal(cluster.control), {0: 3})


def test_a_spool_may_not_hold_more_than_the_outbox(cluster: Cluster, spool: Path) -> None:
    for _ in range(2):
        emitter = Emitter(
            name="manager-1",
            spool=spool,
            ingress=cluster.ingress,
            control=cluster.control,
            max_events=3,
        )
        while emitter.counters()["accepted"] < 3:
            emitter.emit("event:x", {})
        with pytest.raises(OutboxFull):
            emitter.emit("event:x", {})
        assert emitter.close(0) == 3


def test_a_process_that_ends_tells_that_its_events_are_kept(cluster: Cluster, spool: Path) -> None:
    script = 'from emitters import Emitter; Emitter().emit("event:x", {})'
    process = cluster.start(
        "ending", python("-c", script), EMITTER_SPOOL=str(spool), EMITTER_NAME="manager-1"
    )
    wait_for(lambda: process.returncode is not None, "it ends", 20)
    told = f"manager-1 ends with 1 unacknowledged events, kept in the spool {spool}"
    assert told in process.output()


def test_a_spool_without_room_refuses_and_goes_on_later(cluster: Cluster, spool: Path) -> None:
    """A file that may not grow is to SQLite what a full disk is."""
    process = cluster.start_forked("out-of-disk", python("-c", OUT_OF_DISK, str(spool)))
    process.wait_for_output("taken:")
    assert f"refused: the spool {spool} cannot be written: " in process.output()
    told = re.search(r"taken: (\d+)", process.output())
    assert told is not None
    process.kill()
    cluster.start_relay()
    drain(cluster, spool)
    numbers = [event.data["n"] for event in read_journal(cluster.control)]
    assert numbers == list(range(1, int(told[1]) + 1))


def test_a_spool_that_lost_its_end_in_a_power_cut_loses_nothing_new(
    cluster: Cluster, spool: Path, tmp_path: Path
) -> None:
    """An older copy stands for what the disk still has: 2 of 5 events."""
    cluster.start_relay()
    copy = tmp_path / "copy.spool"
    emitter = Emitter(
        name="manager-1", spool=spool, ingress=cluster.ingress, control=cluster.control
    )
    for number in range(1, 6):
        emitter.emit("event:x", {"run": 0, "n": number})
        if number == 2:
            assert emitter.wait_acknowledged(10)
            for suffix in ("", "-wal"):
                Path(f"{copy}{suffix}").write_bytes(Path(f"{spool}{suffix}").read_bytes())
    assert emitter.close(CLOSE_S) == 0
    emitter = Emitter(spool=copy, ingress=cluster.ingress, control=cluster.control)
    for number in range(1, 4):
        emitter.emit("event:x", {"run": 1, "n": number})
    assert emitter.close(CLOSE_S) == 0
    check_runs(read_journal(cluster.control), {0: 5, 1: 3})


def test_the_shell_keeps_what_the_relay_does_not_get(cluster: Cluster, spool: Path) -> None:
    arguments = ("--timeout", "0.3", "--spool", str(spool))
    one = run_cli("emitters", *arguments, "event:x", '{"run": 0, "n": 1}', env=cluster.env)
    assert (one.returncode, one.stderr) == (
        1,
        "event-emit: the relay cannot be reached within 0.3 s; "
        f"1 event is kept in the spool {spool}\n",
    )
    lines = "".join(f'{{"topic": "event:x", "data": {{"run": 0, "n": {n}}}}}\n' for n in (2, 3))
    more = run_cli("emitters", *arguments, env=cluster.env, stdin=lines)
    assert more.returncode == 1
    assert more.stderr.endswith(f"; 3 events are kept in the spool {spool}\n")
    other = run_cli("emitters", *arguments, "--name", "x", "event:x", "{}", env=cluster.env)
    assert (other.returncode, other.stderr) == (
        2,
        f"event-emit: EMITTER_SPOOL: {spool} belongs to the emitter 'event-emit', not to 'x'\n",
    )
    cluster.start_relay()
    flushed = run_cli("emitters", "--spool", str(spool), env=cluster.env)
    assert (flushed.returncode, flushed.stderr) == (0, "")
    check_runs(read_journal(cluster.control), {0: 3})
