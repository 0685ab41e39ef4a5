"""Under gevent an emitter's own thread is a real one, and its callers are green ones."""

import sys
import threading
from types import ModuleType

import pytest

from emitters import Emitter
from emitters.real_threads import RealThread, acquired, is_green, new_lock
from tests.emitters.relay_control import read_journal
from tests.support.cluster import Cluster
from tests.support.processes import python
from tests.support.waiting import wait_for

PATCHED = "from gevent import monkey\nmonkey.patch_all()\n"
GREEN = (
    PATCHED
    + """
import os, sys, threading, time
import gevent
from emitters import Emitter
from emitters.resources import ResourceMonitor
from emitters.tasks import TaskManager, progress

ticks = []
def tick():
    while True:
        ticks.append(time.monotonic())
        time.sleep(0.005)
gevent.spawn(tick)

emitter = Emitter(name="green", spool=sys.argv[1] or None)
# Waiting for the relay, which is started when this line is there, must not stop the others.
print("begun", flush=True)
assert emitter.wait_connected(30)
assert len(ticks) > 5, len(ticks)

def emit_all(by):
    for n in range(1, 251):
        emitter.emit("event:x", {"by": by, "n": n})
        if n % 50 == 0:
            gevent.sleep(0)
gevent.joinall([gevent.spawn(emit_all, f"green-{n}") for n in range(4)], raise_error=True)

tasks = TaskManager(emitter)
def work():
    progress(0.5, "half")
    gevent.sleep(0.01)
for user in ("alice", "bob"):
    tasks.run_task(work, user)
assert tasks.shutdown(timeout=30) == 0

with ResourceMonitor(emitter) as monitor:
    monitor.watch("survival", os.getpid())

if not sys.argv[1]:
    child = os.fork()
    if child == 0:
        emit_all("child")
        assert emitter.close(30) == 0
        os._exit(0)
    # gevent's own `waitpid` misses a child that ends at once, now and then.
    waitpid = monkey.get_original("os", "waitpid")
    assert os.waitstatus_to_exitcode(waitpid(child, 0)[1]) == 0
assert emitter.wait_acknowledged(30)
assert not [t for t in threading.enumerate() if "emitter" in t.name]
"""
)
"""Ends without `close`: that is the exit hook's."""


@pytest.mark.parametrize("has_spool", [False, True])
def test_emitter_and_tasks_under_gevent(cluster: Cluster, has_spool: bool) -> None:
    spool = str(cluster.directory / "spool") if has_spool else ""
    process = cluster.start("green", python("-W", "error::ResourceWarning", "-c", GREEN, spool))
    process.wait_for_output("begun")
    cluster.start_relay()
    process.wait_ended(60)
    assert process.returncode == 0, process.output()
    assert "Traceback" not in process.output()
    got: dict[str, list[int]] = {}
    for event in read_journal(cluster.control):
        got.setdefault(event.data["by"], []).append(event.data["n"])
    emitters = [f"green-{n}" for n in range(4)] + ([] if has_spool else ["child"])
    assert got == {by: list(range(1, 251)) for by in emitters}
    states = [
        (event.username, event.data["status"]) for event in read_journal(cluster.control, "task")
    ]
    for user in ("alice", "bob"):
        of_user = [status for name, status in states if name == user]
        assert of_user[0] == "in_progress"
        assert of_user[-1] == "success"
        assert of_user.count("success") == 1


def test_a_green_thread_that_waits_for_room_lets_the_others_run(cluster: Cluster) -> None:
    """Nothing takes events, so that the bounds are reached and `emit` waits."""
    script = PATCHED + (
        "import time, gevent\n"
        "from emitters import Emitter, OutboxFull\n"
        "ticks = []\n"
        "def tick():\n"
        "    while True:\n"
        "        ticks.append(1)\n"
        "        gevent.sleep(0.01)\n"
        "gevent.spawn(tick)\n"
        "emitter = Emitter(name='green', max_events=1, block_timeout_s=1.0)\n"
        "emitter.emit('event:x', {})\n"
        "try:\n"
        "    emitter.emit('event:x', {})\n"
        "except OutboxFull:\n"
        "    print('full', len(ticks) > 5)\n"
        "emitter.close(0)\n"
    )
    process = cluster.start("green", python("-c", script))
    process.wait_ended(60)
    assert process.returncode == 0, process.output()
    assert process.output().startswith("full True\n")


def test_eventlet_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """`eventlet.patcher` by the one function that is asked: eventlet is retired."""
    patcher = ModuleType("eventlet.patcher")
    patcher.is_monkey_patched = lambda name: name == "thread"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "eventlet.patcher", patcher)
    with pytest.raises(RuntimeError, match=r"^an emitter needs real threads: .*thread=False.*$"):
        Emitter(name="manager-1")


def test_without_gevent_locks_and_threads_are_those_of_python() -> None:
    assert not is_green()
    lock = new_lock()
    assert acquired(lock, 0)
    assert not acquired(lock, 0.01)
    seen: list[tuple[str, bool, bool]] = []
    thread = RealThread(
        "worker",
        lambda: seen.append(
            (threading.current_thread().name, threading.current_thread().daemon, thread.is_current)
        ),
    )
    assert not thread.is_current
    thread.start()
    wait_for(lambda: seen, "it has run")
    thread.join(20)
    assert seen == [("worker", True, True)]
    assert not [each for each in threading.enumerate() if each.name == "worker"]
