"""An exception of a signal handler, at any moment of any call, harms nothing but that call."""

import gc
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from emitters import Emitter, SpoolInUse
from emitters.resources import ResourceMonitor
from emitters.tasks import TaskManager
from tests.emitters.relay_control import read_journal
from tests.support.cluster import Cluster
from tests.support.interrupts import (
    Interrupted,
    LineTracer,
    interrupt_at_random,
    interrupt_each_line,
)
from tests.support.waiting import wait_for

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

CLOSE_S = 30.0
INTERRUPTS = 1000
LONGEST_S = 0.0005

CALLS: dict[str, Callable[[Emitter], object]] = {
    "wait_acknowledged": lambda emitter: emitter.wait_acknowledged(CLOSE_S),
    "wait_connected": lambda emitter: emitter.wait_connected(CLOSE_S),
    "retained": lambda emitter: emitter.retained("task:", CLOSE_S),
    "counters": lambda emitter: emitter.counters(),
    "is_watched": lambda emitter: emitter.is_watched("live:a"),
    "live": lambda emitter: emitter.emit("live:a", {}),
}
"""Public calls that journal nothing."""


class Opener:
    """Opens emitters of one name, with or without a spool."""

    def __init__(self, cluster: Cluster, spool: Path | None) -> None:
        self._cluster = cluster
        self._spool = spool
        self._emitters: list[Emitter] = []

    def __call__(self) -> Emitter:
        emitter = Emitter(
            name="manager-1",
            ingress=self._cluster.ingress,
            control=self._cluster.control,
            spool=self._spool,
            max_events=1000,
            block_timeout_s=CLOSE_S,
        )
        self._emitters.append(emitter)
        return emitter

    def close(self) -> None:
        """Close all that were opened, and keep none of them."""
        for emitter in self._emitters:
            emitter.close(0)
        self._emitters.clear()


@pytest.fixture(params=["memory", "spool"])
def opened(request: pytest.FixtureRequest, cluster: Cluster, tmp_path: Path) -> Iterator[Opener]:
    cluster.start_relay()
    opener = Opener(cluster, tmp_path / "manager-1.spool" if request.param == "spool" else None)
    yield opener
    opener.close()


def check_journal(cluster: Cluster, ids: list[str], most: int) -> None:
    """Every event whose `emit` returned is journaled once, and `most` in all."""
    journaled = [event.id for event in read_journal(cluster.control)]
    assert len(set(journaled)) == len(journaled) <= most
    known = set(ids)
    assert [each for each in journaled if each in known] == ids


def test_emit_is_interrupted_at_each_line(cluster: Cluster, opened: Opener) -> None:
    emitter = opened()
    ids: list[str] = []

    def check(place: str) -> None:
        ids.append(emitter.emit("event:a", {}))
        assert emitter.wait_acknowledged(CLOSE_S), place

    interrupts = interrupt_each_line(lambda: ids.append(emitter.emit("event:a", {})), check)
    assert interrupts > 20
    assert emitter.close(CLOSE_S) == 0
    check_journal(cluster, ids, len(ids) + interrupts)


def test_emit_is_interrupted_at_random_moments(cluster: Cluster, opened: Opener) -> None:
    emitter = opened()
    ids: list[str] = []
    interrupt_at_random(lambda: ids.append(emitter.emit("event:a", {})), INTERRUPTS, LONGEST_S)
    ids_before = len(ids)
    ids.append(emitter.emit("event:a", {}))
    assert emitter.wait_acknowledged(CLOSE_S)
    counters = emitter.counters()
    assert counters["accepted"] == counters["acknowledged"]
    assert emitter.close(CLOSE_S) == 0
    check_journal(cluster, ids, ids_before + 1 + INTERRUPTS)


@pytest.mark.parametrize("name", CALLS)
def test_other_calls_are_interrupted(cluster: Cluster, opened: Opener, name: str) -> None:
    emitter = opened()
    assert emitter.wait_connected(CLOSE_S)

    def call() -> None:
        CALLS[name](emitter)

    def check(place: str) -> None:
        emitter.emit("event:a", {})
        assert emitter.wait_acknowledged(CLOSE_S), place

    interrupt_each_line(call, check)
    interrupt_at_random(call, INTERRUPTS // 5, LONGEST_S)
    check("at random")
    assert emitter.retained("task:", CLOSE_S) == []
    assert emitter.close(CLOSE_S) == 0


def test_close_is_interrupted_at_each_line_and_made_again(cluster: Cluster, opened: Opener) -> None:
    ids: list[str] = []
    for number in itertools.count(1):
        emitter = opened()
        ids.append(emitter.emit("event:a", {}))
        try:
            with LineTracer(number):
                emitter.close(CLOSE_S)
        except Interrupted:
            assert emitter.close(CLOSE_S) == 0
        else:
            break
    assert len(ids) > 10
    check_journal(cluster, ids, len(ids))


def test_opening_is_interrupted_at_each_line_and_leaves_nothing_behind(opened: Opener) -> None:
    threads, descriptors = threading.active_count(), open_descriptors()
    interrupts = interrupt_each_line(opened, lambda _place: reopen(opened))
    opened.close()
    assert interrupts > 50
    wait_for(lambda: threading.active_count() <= threads, "its threads end")
    gc.collect()
    assert open_descriptors() <= descriptors
    emitter = opened()
    emitter.emit("event:a", {})
    assert emitter.wait_acknowledged(CLOSE_S)


def open_descriptors() -> int:
    """Return the number of open file descriptors of this process."""
    return len(os.listdir("/proc/self/fd"))


def reopen(opened: Opener) -> None:
    """Open and close one, as soon as the thread of an interrupted constructor has ended."""
    deadline = time.monotonic() + CLOSE_S
    while True:
        try:
            opened()
        except SpoolInUse:
            assert time.monotonic() < deadline
        else:
            opened.close()
            return


def test_tasks_are_interrupted_at_each_line_and_at_random(opened: Opener) -> None:
    emitter = opened()
    tasks = TaskManager(emitter, max_workers=2)

    def call() -> None:
        task_id = tasks.run_task(int, "alice")
        tasks.get_task(task_id)
        tasks.get_all_tasks()

    def check(place: str) -> None:
        task_id = tasks.run_task(int, "alice")
        wait_for(lambda: is_finished(tasks, task_id), f"a task ends after {place}")

    assert interrupt_each_line(call, check) > 20
    interrupt_at_random(call, INTERRUPTS // 10, LONGEST_S)
    check("at random")
    assert tasks.shutdown(timeout=CLOSE_S) == 0
    assert emitter.close(CLOSE_S) == 0


def is_finished(tasks: TaskManager, task_id: str) -> bool:
    state = tasks.get_task(task_id)
    return state is not None and state.is_finished


def test_a_resource_monitor_is_interrupted_at_each_line_and_at_random(opened: Opener) -> None:
    monitor = ResourceMonitor(opened())

    def call() -> None:
        monitor.watch("survival", os.getpid())
        monitor.forget("survival")

    interrupt_each_line(call, lambda _place: call())
    interrupt_at_random(call, INTERRUPTS // 10, LONGEST_S)
    monitor.stop()
    assert monitor._thread is not None
    assert not monitor._thread.is_alive()
