"""Ordinary set-ups of several processes: one name for all of them, forks, a cell that is run again.

Each process says nothing on standard error, and everything that it emitted is journaled.
"""

import os
import shutil
import signal
from collections import Counter
from pathlib import Path

import pytest

from emitters import Emitter, SpoolInUse
from emitters.core.emitter_state import EmitterStatus
from emitters.tasks import TaskManager
from tests.emitters.relay_control import journaled_by_process, read_journal
from tests.support.cluster import Cluster
from tests.support.processes import ManagedProcess, python
from tests.support.waiting import wait_for

EACH = 1000
EMITTING = """
def emit_all(by):
    for n in range(1, 1001):
        emitter.emit("event:x", {"by": by, "n": n})
"""
ONE = (
    """
import sys
from emitters import Emitter
emitter = Emitter(name="web")
"""
    + EMITTING
    + """
print("begun", flush=True)
sys.stdin.readline()
emit_all(sys.argv[1])
"""
)
FORKED = (
    """
import os
from emitters import Emitter
emitter = Emitter(name="web")
"""
    + EMITTING
    + """
emitter.emit("event:x", {"by": "before", "n": 1})
children = []
for by in ("first", "second"):
    child = os.fork()
    if child == 0:
        emit_all(by)
        assert emitter.close(30) == 0
        assert emitter.close() == 0
        os._exit(0)
    children.append(child)
emit_all("parent")
for child in children:
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert emitter.close(30) == 0
"""
)
PREFORKED = (
    """
import multiprocessing
from emitters import Emitter
from emitters.tasks import TaskManager
emitter = Emitter(name="worker")
tasks = TaskManager(emitter)
"""
    + EMITTING
    + """
def work(by):
    emit_all(by)
    tasks.run_task(function=print, username="alice")
    assert tasks.shutdown() == 0

if __name__ == "__main__":
    tasks.run_task(print, username="alice")
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=work, args=(f"worker-{n}",)) for n in range(4)]
    for child in children:
        child.start()
    for child in children:
        child.join()
        assert child.exitcode == 0
"""
)
RUN_AGAIN = (
    EMITTING
    + """
from emitters import Emitter
for by in ("first", "second", "third"):
    emitter = Emitter(name="notebook")
    emit_all(by)
"""
)


def wait_well(process: ManagedProcess) -> None:
    """Wait until `process` has ended well and said nothing that the test did not ask for."""
    process.wait_ended(60)
    assert process.returncode == 0, process.output()
    assert not [line for line in process.output().splitlines() if line.strip() not in ("", "begun")]


def journaled(cluster: Cluster) -> Counter[str]:
    return journaled_by_process(cluster.control)


def test_processes_with_one_name(cluster: Cluster) -> None:
    cluster.start_relay()
    both = [cluster.start(by, python("-c", ONE, by)) for by in ("first", "second")]
    for process in both:
        wait_well(process)
    assert journaled(cluster) == {"first": EACH, "second": EACH}


@pytest.mark.parametrize("is_relay_there_first", [True, False])
def test_forked_processes(cluster: Cluster, is_relay_there_first: bool) -> None:
    if is_relay_there_first:
        cluster.start_relay()
    process = cluster.start("parent", python("-c", FORKED))
    if not is_relay_there_first:
        cluster.start_relay()
    wait_well(process)
    assert journaled(cluster) == {"before": 1, "parent": EACH, "first": EACH, "second": EACH}


def test_workers_that_were_forked_from_a_process_with_emitter_and_tasks(cluster: Cluster) -> None:
    cluster.start_relay()
    wait_well(cluster.start("parent", python("-c", PREFORKED)))
    assert journaled(cluster) == {f"worker-{n}": EACH for n in range(4)}
    states = [event.data["status"] for event in read_journal(cluster.control, "task")]
    assert Counter(states) == {"in_progress": 5, "success": 5}


def test_a_cell_of_a_notebook_that_is_run_again(cluster: Cluster) -> None:
    """The events that the earlier emitters hold is sent though nobody has them any more."""
    process = cluster.start("notebook", python("-c", RUN_AGAIN))
    cluster.start_relay()
    wait_well(process)
    assert journaled(cluster) == {"first": EACH, "second": EACH, "third": EACH}


def test_an_emitter_that_nobody_has_any_more_leaves_nothing_behind(cluster: Cluster) -> None:
    cluster.start_relay()
    before = len(os.listdir("/proc/self/fd"))

    def use_one() -> None:
        emitter = Emitter(name="cell", ingress=cluster.ingress, control=cluster.control)
        emitter.emit("event:x", {"by": "cell", "n": 1})

    use_one()
    wait_for(lambda: len(os.listdir("/proc/self/fd")) <= before, "its descriptors are closed")
    assert journaled(cluster) == {"cell": 1}


class TestSpools:
    """A spool belongs to one process."""

    @pytest.fixture
    def spool(self, cluster: Cluster) -> Path:
        return cluster.directory / "spool"

    def open(self, cluster: Cluster, spool: Path) -> Emitter:
        return Emitter(name="web", ingress=cluster.ingress, control=cluster.control, spool=spool)

    def test_a_forked_process_is_told_and_the_parent_goes_on(
        self, cluster: Cluster, spool: Path
    ) -> None:
        cluster.start_relay()
        reader, writer = os.pipe()
        with self.open(cluster, spool) as emitter:
            child = os.fork()
            if child == 0:
                try:
                    state = emitter.state
                    os.write(writer, f"{state.status}: {state.reason}\n".encode())
                    emitter.emit("event:x", {})
                except SpoolInUse as error:
                    os.write(writer, f"emit: {error}\n{emitter.close()}".encode())
                finally:
                    os._exit(0)
            os.waitpid(child, 0)
            emitter.emit("event:x", {"by": "parent", "n": 1})
        os.close(writer)
        with os.fdopen(reader) as told:
            problem = f"EMITTER_SPOOL: {spool} is in use by another emitter"
            assert told.read() == f"refused: {problem}\nemit: {problem}\n0"
        assert journaled(cluster) == {"parent": 1}

    def test_spools_with_one_name_are_independent(self, cluster: Cluster, tmp_path: Path) -> None:
        cluster.start_relay()
        emitters = [self.open(cluster, tmp_path / by) for by in ("first", "second")]
        for by, emitter in zip(("first", "second"), emitters, strict=True):
            emitter.emit("event:x", {"by": by, "n": 1})
        assert [each.close() for each in emitters] == [0, 0]
        assert journaled(cluster) == {"first": 1, "second": 1}

    def test_a_copied_spool_is_refused_while_the_other_is_used(
        self, cluster: Cluster, spool: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        cluster.start_relay()
        copy = spool.with_name("copy")
        with self.open(cluster, spool) as emitter:
            emitter.emit("event:x", {"by": "first", "n": 1})
        shutil.copy(spool, copy)
        with self.open(cluster, spool) as emitter, self.open(cluster, copy) as other:

            def found() -> list[Emitter]:
                both = (emitter, other)
                return [each for each in both if each.state.status is EmitterStatus.REFUSED]

            [refused] = wait_for(found, "one of them is refused")
            assert "Give each process a spool of its own" in refused.state.reason
            wait_for(lambda: "another live process has this spool" in caplog.text, "it is told")


def test_the_state_tells_whether_events_reach_the_relay(cluster: Cluster) -> None:
    emitter = Emitter(name="web", ingress=cluster.ingress, control=cluster.control)
    try:
        assert emitter.state.status == "connecting"
        wait_for(lambda: "is the relay running" in emitter.state.reason.lower(), "a reason")
        since = emitter.state.since
        relay = cluster.start_relay()
        assert emitter.wait_connected(20)
        wait_for(lambda: emitter.state.status == "connected", "it is connected")
        assert emitter.state.reason == ""
        assert emitter.state.since > since
        relay.kill()
        wait_for(lambda: emitter.state.status == "connecting", "it has lost the relay")
        emitter.emit("event:x", {})
        assert emitter.close(0) == 1
        assert (emitter.state.status, emitter.state.reason) == (
            "closed",
            "this emitter was closed",
        )
    finally:
        emitter.close(0)


def test_a_task_manager_and_its_emitter_are_used_in_parent_and_child(cluster: Cluster) -> None:
    """Also while threads of the parent are at work in both."""
    cluster.start_relay()
    with Emitter(name="web", ingress=cluster.ingress, control=cluster.control) as emitter:
        tasks = TaskManager(emitter)
        for _ in range(20):
            tasks.run_task(lambda: None, "alice")
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    tasks.run_task(lambda: None, "bob")
                    code = tasks.shutdown(timeout=20) + emitter.close(20)
                finally:
                    os._exit(code)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert tasks.shutdown(timeout=20) == 0
    states = [
        (event.username, event.data["status"]) for event in read_journal(cluster.control, "task")
    ]
    assert Counter(states) == {
        (user, status): 20 for user in ("alice", "bob") for status in ("in_progress", "success")
    }


def test_the_end_of_a_parent_is_seen_though_its_child_lives(cluster: Cluster) -> None:
    """The child has inherited the descriptors of the parent's connection."""
    script = (
        "import os, time, threading\n"
        "from emitters import Emitter\n"
        "from emitters.tasks import TaskManager\n"
        "emitter = Emitter(name='web')\n"
        "TaskManager(emitter).run_task(threading.Event().wait, 'alice')\n"
        "assert emitter.wait_acknowledged(20)\n"
        "if os.fork() == 0: time.sleep(60); os._exit(0)\n"
        "print('begun', flush=True)\n"
        "time.sleep(60)\n"
    )
    cluster.start_relay(RELAY_TASK_GRACE_S="1")
    parent = cluster.start("parent", python("-c", script))
    parent.wait_for_output("begun")
    parent.signal(signal.SIGKILL)
    wait_for(
        lambda: (
            [e.data["status"] for e in read_journal(cluster.control, "task")]
            == ["in_progress", "error"]
        ),
        "the relay ends the task",
        40,
    )
