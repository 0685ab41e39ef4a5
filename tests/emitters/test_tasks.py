"""A task's user is told that it runs, how far it is, and exactly once how it ended."""

import contextvars
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from emitters import tasks as tasks_module
from emitters.core.task_state import TaskState
from emitters.errors import OutboxFull
from emitters.tasks import TaskFailed, TaskManager, TasksRefused, progress
from tests.emitters.recording import RecordingEmitter
from tests.support.waiting import wait_for

TIMEOUT_S = 10.0


@pytest.fixture
def emitter() -> RecordingEmitter:
    return RecordingEmitter()


@pytest.fixture
def manager(emitter: RecordingEmitter) -> Iterator[TaskManager]:
    manager = TaskManager(emitter)
    yield manager
    manager.shutdown(timeout=0)


class Gate:
    """A task that waits at a gate."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.opened = threading.Event()

    def __call__(self, *_: object) -> str:
        self.entered.set()
        assert self.opened.wait(TIMEOUT_S), "the gate was not opened"
        return "through"


def wait_finished(emitter: RecordingEmitter, task_id: str) -> list[dict[str, Any]]:
    """Return the data of all updates of a task, once it is finished."""
    topic = f"task:{task_id}"

    def finished() -> bool:
        updates = emitter.on(topic)
        return bool(updates) and updates[-1].data["status"] != "in_progress"

    emitter.wait(finished, f"{topic} finishes")
    assert {(each.type, each.username) for each in emitter.on(topic)} == {
        ("task_update", emitter.on(topic)[0].data["username"])
    }
    return [each.data for each in emitter.on(topic)]


def test_the_updates_of_a_success(manager: TaskManager, emitter: RecordingEmitter) -> None:
    task_id = manager.run_task(lambda a, b: {"sum": a + b}, "alice", 1, b=2)
    assert wait_finished(emitter, task_id) == [
        {
            "status": "in_progress",
            "message": "Task is running.",
            "result": None,
            "username": "alice",
        },
        {
            "status": "success",
            "message": "Task completed successfully.",
            "result": {"sum": 3},
            "username": "alice",
        },
    ]
    assert manager.shutdown() == 0
    assert manager.get_task(task_id) == TaskState(
        task_id, "alice", "success", "Task completed successfully.", {"sum": 3}
    )


def fail(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize(
    ("error", "message", "result"),
    [
        (ValueError("disk full"), "disk full", None),
        (TimeoutError(), "TimeoutError", None),
        (SystemExit(3), "SystemExit: 3", None),
        (TaskFailed("exit code 3", {"exit_code": 3}), "exit code 3", {"exit_code": 3}),
        (ValueError("x" * 10_000), "x" * 4096 + "…", None),
    ],
)
def test_the_end_of_a_failure(
    manager: TaskManager,
    emitter: RecordingEmitter,
    error: BaseException,
    message: str,
    result: object,
) -> None:
    last = wait_finished(emitter, manager.run_task(fail, "bob", error))[-1]
    assert last == {"status": "error", "message": message, "result": result, "username": "bob"}


def test_a_result_that_cannot_be_carried_becomes_text(
    manager: TaskManager, emitter: RecordingEmitter
) -> None:
    task_id = manager.run_task(lambda: {"value": {float("nan")}, "type": int}, "alice")
    last = wait_finished(emitter, task_id)[-1]
    assert last["result"] == {"value": ["nan"], "type": "<class 'int'>"}


def test_async_functions_run_too(manager: TaskManager, emitter: RecordingEmitter) -> None:
    async def function() -> str:
        progress(0.5)
        return "done"

    last = wait_finished(emitter, manager.run_task(function, "alice"))[-1]
    assert (last["status"], last["result"], last["progress"]) == ("success", "done", 1.0)


def test_progress_in_a_tight_loop_is_told_a_few_times_and_its_last_value_always(
    manager: TaskManager, emitter: RecordingEmitter
) -> None:
    gate = Gate()

    def work() -> None:
        for step in range(10_000):
            progress(step / 10_000, f"step {step}")
        gate()

    task_id = manager.run_task(work, "alice")
    emitter.wait(
        lambda: emitter.on(f"task:{task_id}")[-1].data["message"] == "step 9999",
        "the last progress is told while the task still runs",
    )
    state = manager.get_task(task_id)
    assert state is not None
    assert (state.status, state.message, state.progress) == ("in_progress", "step 9999", 0.9999)
    told = len(emitter.on(f"task:{task_id}"))
    assert told < 20, f"{told} updates for one loop"
    gate.opened.set()
    updates = wait_finished(emitter, task_id)
    assert updates[-1]["progress"] == 1.0
    fractions = [each["progress"] for each in updates if "progress" in each]
    assert fractions == sorted(fractions)


def test_progress_keeps_what_is_not_given_and_cuts_what_is_beyond() -> None:
    state = TaskState("1", "alice").advanced(0.25, "quarter").advanced(None, "still")
    assert (state.progress, state.message) == (0.25, "still")
    assert state.advanced(7, None).progress == 1.0
    assert state.advanced(-1, None).progress == 0.0
    assert state.advanced(float("nan"), None).progress == 0.25
    assert state.failed("broken").progress == 0.25


def test_progress_outside_of_a_task_does_nothing(
    manager: TaskManager, emitter: RecordingEmitter
) -> None:
    wait_finished(emitter, manager.run_task(lambda: None, "alice"))
    progress(0.5, "nobody listens")
    assert all("progress" not in each.data for each in emitter.emitted)


def test_a_task_sees_the_context_of_who_started_it(
    manager: TaskManager, emitter: RecordingEmitter
) -> None:
    request: contextvars.ContextVar[str] = contextvars.ContextVar("request", default="none")
    request.set("r-17")
    task_id = manager.run_task(request.get, "alice")
    assert wait_finished(emitter, task_id)[-1]["result"] == "r-17"


def test_no_more_tasks_at_once_than_workers(emitter: RecordingEmitter) -> None:
    manager = TaskManager(emitter, max_workers=2)
    gates = [Gate() for _ in range(3)]
    ids = [manager.run_task(gate, "alice") for gate in gates]
    assert gates[0].entered.wait(TIMEOUT_S)
    assert gates[1].entered.wait(TIMEOUT_S)
    assert not gates[2].entered.is_set()
    assert set(manager.get_all_tasks()) == set(ids)
    gates[0].opened.set()
    assert gates[2].entered.wait(TIMEOUT_S), "the third task starts when the first ends"
    gates[1].opened.set()
    gates[2].opened.set()
    assert manager.shutdown(timeout=TIMEOUT_S) == 0
    assert [state.result for state in manager.get_all_tasks().values()] == ["through"] * 3


def test_shutdown_refuses_new_tasks_and_waits_for_the_others(emitter: RecordingEmitter) -> None:
    manager = TaskManager(emitter)
    gate = Gate()
    task_id = manager.run_task(gate, "alice")
    assert gate.entered.wait(TIMEOUT_S)
    unfinished: list[int] = []
    waiting = threading.Thread(target=lambda: unfinished.append(manager.shutdown()))
    waiting.start()

    def refused() -> bool:
        try:
            manager.run_task(lambda: None, "alice")
        except TasksRefused:
            return True
        return False

    wait_for(refused, "new tasks are refused")
    assert waiting.is_alive(), "shutdown waits"
    gate.opened.set()
    waiting.join(TIMEOUT_S)
    assert unfinished == [0]
    assert wait_finished(emitter, task_id)[-1]["status"] == "success"


@pytest.mark.parametrize("options", [{"timeout": 0.01}, {"wait": False}])
def test_who_does_not_finish_in_time_is_told_so_once(
    emitter: RecordingEmitter, options: dict[str, Any]
) -> None:
    manager = TaskManager(emitter, max_workers=1)
    gates = [Gate(), Gate()]
    ids = [manager.run_task(gate, "alice") for gate in gates]
    assert gates[0].entered.wait(TIMEOUT_S)
    assert manager.shutdown(**options) == 2
    for gate in gates:
        gate.opened.set()
    workers = [each for each in threading.enumerate() if each.name.startswith("task-worker")]
    for worker in workers:
        worker.join(TIMEOUT_S)
    for task_id in ids:
        updates = wait_finished(emitter, task_id)
        assert len(updates) == 2
        assert updates[-1]["message"] == "The manager stopped before the task finished."
    assert not gates[1].entered.is_set(), "what waited is not started any more"


def test_when_the_start_cannot_be_told_nothing_is_run(
    manager: TaskManager, emitter: RecordingEmitter
) -> None:
    ran = threading.Event()
    emitter.full = True
    with pytest.raises(OutboxFull):
        manager.run_task(ran.set, "alice")
    assert manager.get_all_tasks() == {}
    assert manager.shutdown() == 0
    assert not ran.is_set()


def test_the_end_is_told_as_soon_as_there_is_room(
    manager: TaskManager, emitter: RecordingEmitter
) -> None:
    gate = Gate()
    task_id = manager.run_task(gate, "alice")
    emitter.full = True
    gate.opened.set()
    emitter.wait(lambda: emitter.refused >= 2, "the end is tried again")
    emitter.full = False
    assert wait_finished(emitter, task_id)[-1]["status"] == "success"


def test_an_end_that_cannot_be_told_does_not_hold_up_the_shutdown(
    manager: TaskManager, emitter: RecordingEmitter, caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gate()
    task_id = manager.run_task(gate, "alice")
    emitter.full = True
    gate.opened.set()
    emitter.wait(lambda: emitter.refused >= 1, "the end is tried")
    with caplog.at_level(logging.ERROR):
        assert manager.shutdown(timeout=0.01) == 1
    assert f"the final update of task {task_id} could not be sent" in caplog.text


def test_finished_tasks_are_forgotten_in_the_end(
    emitter: RecordingEmitter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks_module, "MAX_FINISHED_TASKS", 2)
    manager = TaskManager(emitter)
    ids = []
    for number in range(4):
        ids.append(manager.run_task(int, "alice", number))
        wait_finished(emitter, ids[-1])
    manager.shutdown()
    assert list(manager.get_all_tasks()) == ids[2:]
    assert manager.get_task(ids[0]) is None


def test_finished_tasks_are_bounded_by_the_bytes_of_their_results(
    emitter: RecordingEmitter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A result of 1 MiB is cut to what an event carries, and is held for a while only."""
    monkeypatch.setattr(tasks_module, "MAX_FINISHED_BYTES", 300_000)
    manager = TaskManager(emitter)
    ids = []
    for _ in range(6):
        ids.append(manager.run_task(lambda: ["x" * 1024] * 1024, "alice"))
        wait_finished(emitter, ids[-1])
    manager.shutdown()
    kept = manager.get_all_tasks()
    assert list(kept) == ids[-1:]
    assert 200_000 < sum(state.size_bytes() for state in kept.values()) <= 300_000


def test_too_many_waiting_tasks_are_refused(
    emitter: RecordingEmitter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks_module, "MAX_WAITING_TASKS", 1)
    manager = TaskManager(emitter, max_workers=1)
    gate = Gate()
    manager.run_task(gate, "alice")
    assert gate.entered.wait(TIMEOUT_S)
    manager.run_task(lambda: None, "alice")
    with pytest.raises(TasksRefused, match="1 tasks wait already"):
        manager.run_task(lambda: None, "alice")
    gate.opened.set()
    assert manager.shutdown(timeout=TIMEOUT_S) == 0


def test_tasks_that_many_threads_start_at_once_do_not_pass_the_limit(
    emitter: RecordingEmitter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks_module, "MAX_WAITING_TASKS", 5)
    manager = TaskManager(emitter, max_workers=1)
    gate = Gate()
    refused = []

    def start_some() -> None:
        for _ in range(5):
            try:
                manager.run_task(gate, "alice")
            except TasksRefused as error:
                refused.append(error)

    threads = [threading.Thread(target=start_some) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(manager.get_all_tasks()), len(refused)) == (6, 14)
    gate.opened.set()
    assert manager.shutdown(timeout=TIMEOUT_S) == 0


def test_many_tasks_from_many_threads_each_end_once(emitter: RecordingEmitter) -> None:
    manager = TaskManager(emitter, max_workers=4)
    ids: list[str] = []

    def start_some() -> None:
        for _ in range(25):
            ids.append(manager.run_task(progress, "alice", 0.5))

    starters: list[Callable[[], None]] = [start_some] * 4
    threads = [threading.Thread(target=each) for each in starters]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT_S)
    assert manager.shutdown(timeout=TIMEOUT_S) == 0
    for task_id in ids:
        statuses = [each.data["status"] for each in emitter.on(f"task:{task_id}")]
        assert statuses[0] == "in_progress"
        assert statuses[-1] == "success"
        assert statuses.count("success") == 1
