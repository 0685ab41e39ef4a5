"""A cancelled task: it never begins, or its function is told, and its user gets one last update."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from emitters.tasks import TaskManager, is_cancelled, progress
from tests.emitters.recording import RecordingEmitter
from tests.emitters.test_tasks import TIMEOUT_S, Gate, wait_finished
from tests.support.waiting import wait_for

CANCELLED = {
    "status": "cancelled",
    "message": "Task was cancelled.",
    "result": None,
    "username": "alice",
}


@pytest.fixture
def emitter() -> RecordingEmitter:
    return RecordingEmitter()


@pytest.fixture
def manager(emitter: RecordingEmitter) -> Iterator[TaskManager]:
    manager = TaskManager(emitter, max_workers=1)
    yield manager
    manager.shutdown(timeout=0)


def test_a_task_that_waits_never_begins(manager: TaskManager, emitter: RecordingEmitter) -> None:
    gate, calls = Gate(), list[str]()
    running = manager.run_task(gate, "alice")
    waiting = manager.run_task(calls.append, "alice", "called")
    last = manager.run_task(lambda: "last", "alice")
    assert gate.entered.wait(TIMEOUT_S)
    assert manager.cancel(waiting)
    assert [each["status"] for each in wait_finished(emitter, waiting)] == [
        "in_progress",
        "cancelled",
    ]
    assert wait_finished(emitter, waiting)[-1] == CANCELLED
    gate.opened.set()
    assert wait_finished(emitter, running)[-1]["result"] == "through"
    assert wait_finished(emitter, last)[-1]["result"] == "last", "its place is free"
    assert calls == []
    state = manager.get_task(waiting)
    assert state is not None
    assert state.status == "cancelled"


@pytest.mark.parametrize("outcome", ["nothing", "partial"])
def test_a_function_that_asks_ends_as_cancelled(
    manager: TaskManager, emitter: RecordingEmitter, outcome: str
) -> None:
    began, result = threading.Event(), None if outcome == "nothing" else {"done": 3}

    def work() -> Any:
        began.set()
        wait_for(is_cancelled, "the task is cancelled")
        return result

    task = manager.run_task(work, "alice")
    assert began.wait(TIMEOUT_S)
    assert manager.cancel(task)
    assert wait_finished(emitter, task)[-1] == {**CANCELLED, "result": result}
    assert not manager.cancel(task), "it has ended"


def test_a_function_that_never_asks_ends_as_it_would(
    manager: TaskManager, emitter: RecordingEmitter
) -> None:
    gate = Gate()
    task = manager.run_task(gate, "alice")
    assert gate.entered.wait(TIMEOUT_S)
    assert manager.cancel(task)
    assert manager.cancel(task), "again, while it runs"
    gate.opened.set()
    assert wait_finished(emitter, task)[-1]["status"] == "success"


def test_a_function_that_fails_after_it_was_told_is_an_error(
    manager: TaskManager, emitter: RecordingEmitter
) -> None:
    began = threading.Event()

    def work() -> None:
        began.set()
        wait_for(is_cancelled, "the task is cancelled")
        raise ValueError("cannot clean up")

    task = manager.run_task(work, "alice")
    assert began.wait(TIMEOUT_S)
    manager.cancel(task)
    last = wait_finished(emitter, task)[-1]
    assert (last["status"], last["message"]) == ("error", "cannot clean up")


@pytest.mark.parametrize("cleans_up", [False, True])
def test_a_coroutine_is_cancelled(
    manager: TaskManager, emitter: RecordingEmitter, cleans_up: bool
) -> None:
    began, cleaned = threading.Event(), threading.Event()

    async def work() -> str:
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cleaned.set()
            assert is_cancelled()
            if not cleans_up:
                raise
        return "cleaned up"

    task = manager.run_task(work, "alice")
    assert began.wait(TIMEOUT_S)
    assert manager.cancel(task)
    result = "cleaned up" if cleans_up else None
    assert wait_finished(emitter, task)[-1] == {**CANCELLED, "result": result}
    assert cleaned.is_set()


def test_a_coroutine_is_cancelled_once(manager: TaskManager, emitter: RecordingEmitter) -> None:
    """The second call must not break the clean-up off."""
    began, cleaning, go_on = threading.Event(), threading.Event(), threading.Event()

    async def work() -> str:
        try:
            began.set()
            await asyncio.Event().wait()
        finally:
            cleaning.set()
            await asyncio.to_thread(go_on.wait, TIMEOUT_S)
            progress(1.0, "cleaned up")
        return "never"

    task = manager.run_task(work, "alice")
    assert began.wait(TIMEOUT_S)
    assert manager.cancel(task)
    assert cleaning.wait(TIMEOUT_S)
    assert manager.cancel(task)
    go_on.set()
    last = wait_finished(emitter, task)[-1]
    assert (last["status"], last["progress"]) == ("cancelled", 1.0)


def test_a_future_is_cancelled(manager: TaskManager, emitter: RecordingEmitter) -> None:
    future: Future[str] = Future()
    returned = threading.Event()

    def work() -> Future[str]:
        returned.set()
        return future

    task = manager.run_task(work, "alice")
    assert returned.wait(TIMEOUT_S)
    assert manager.cancel(task)
    assert wait_finished(emitter, task)[-1] == CANCELLED
    assert future.cancelled()


def test_a_cancellation_that_nobody_asked_for_is_an_error(
    manager: TaskManager, emitter: RecordingEmitter
) -> None:
    async def work() -> None:
        raise asyncio.CancelledError

    last = wait_finished(emitter, manager.run_task(work, "alice"))[-1]
    assert (last["status"], last["message"]) == ("error", "CancelledError")


def test_an_unknown_task_is_not_cancelled(manager: TaskManager) -> None:
    assert not manager.cancel("nobody's")


def test_outside_of_a_task_nothing_is_cancelled() -> None:
    assert not is_cancelled()


def test_many_tasks_cancelled_while_they_begin_end_once_each(emitter: RecordingEmitter) -> None:
    """Each as cancelled or done, whatever the thread had just come to."""
    manager = TaskManager(emitter, max_workers=4)
    tasks = []
    for number in range(200):
        tasks.append(manager.run_task(asyncio.sleep, "alice", 0 if number % 2 else 60))
        manager.cancel(tasks[-1])
    for number, task in enumerate(tasks):
        statuses = [each["status"] for each in wait_finished(emitter, task)]
        assert statuses[0] == "in_progress"
        assert statuses[1:] in (["cancelled"], ["success"] if number % 2 else ["cancelled"])
    assert manager.shutdown(timeout=TIMEOUT_S) == 0
