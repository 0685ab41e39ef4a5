"""Whatever a task does ends that task, and costs neither a thread nor the end of `shutdown`."""

import asyncio
import functools
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from emitters.tasks import TaskFailed, TaskManager, TasksRefused, progress
from tests.emitters.core.test_failure import OddAttributes, OddText, WithoutConstructor
from tests.emitters.recording import RecordingEmitter
from tests.emitters.test_tasks import TIMEOUT_S, Gate, wait_finished

FORKED_S = 20


@pytest.fixture
def emitter() -> RecordingEmitter:
    return RecordingEmitter()


@pytest.fixture
def manager(emitter: RecordingEmitter) -> Iterator[TaskManager]:
    manager = TaskManager(emitter, max_workers=1)
    yield manager
    manager.shutdown(timeout=0)


def raises(error: BaseException) -> Callable[..., Any]:
    def act(*_: object) -> Any:
        raise error

    return act


def recurses(*_: object) -> Any:
    return recurses()


class UnreadableResult:
    """A result whose text raises `error`."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __str__(self) -> str:
        raise self._error


class BrokenDel:
    def __del__(self) -> None:
        raise RuntimeError("no")


ERRORS = {
    "text raises": OddText(raises(RuntimeError("no"))),
    "text is none": OddText(lambda: None),
    "text recurses": OddText(recurses),
    "text exits": OddText(raises(SystemExit(1))),
    "text interrupts": OddText(raises(KeyboardInterrupt())),
    "no attributes": OddAttributes(),
    "no constructor": WithoutConstructor(3),
    "odd result": TaskFailed("odd", UnreadableResult(SystemExit(1))),
    "odd message": TaskFailed(OddText(raises(SystemExit(1)))),  # type: ignore[arg-type]
    "group": ExceptionGroup("several", [OddText(raises(SystemExit(1))), OddAttributes()]),
    "deep": RecursionError(),
    "memory": MemoryError(),
    "exit": SystemExit(3),
    "interrupt": KeyboardInterrupt(),
    "generator exit": GeneratorExit(),
    "cancelled": asyncio.CancelledError(),
    "stop iteration": StopIteration(1),
    "outbox": TimeoutError(),
}


async def fails_later(error: BaseException) -> None:
    await asyncio.sleep(0)
    raise error


FUNCTIONS: dict[str, Callable[[BaseException], Any]] = {
    "thread": lambda error: raises(error)(),
    "async": fails_later,
    "disguised": lambda error: fails_later(error),
    "partial": functools.partial(fails_later),
}


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
@pytest.mark.parametrize("name", ERRORS)
def test_any_exception_ends_its_task_and_its_worker_goes_on(
    manager: TaskManager,
    emitter: RecordingEmitter,
    function: Callable[[BaseException], Any],
    name: str,
) -> None:
    failed = manager.run_task(function, "alice", ERRORS[name])
    following = manager.run_task(lambda: "done", "alice")
    end = wait_finished(emitter, failed)[-1]
    assert end["status"] == "error"
    assert end["message"]
    assert wait_finished(emitter, following)[-1]["result"] == "done"
    assert manager.shutdown(timeout=TIMEOUT_S) == 0


@pytest.mark.parametrize("error", [RuntimeError("no"), SystemExit(1), KeyboardInterrupt()])
def test_a_result_that_cannot_be_read_ends_its_task_too(
    manager: TaskManager, emitter: RecordingEmitter, error: BaseException
) -> None:
    unreadable = manager.run_task(lambda: UnreadableResult(error), "alice")
    expected = "success" if isinstance(error, Exception) else "error"
    assert wait_finished(emitter, unreadable)[-1]["status"] == expected
    assert manager.shutdown(timeout=TIMEOUT_S) == 0


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (SystemExit(3), "SystemExit: 3"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (GeneratorExit(), "GeneratorExit"),
        (asyncio.CancelledError(), "CancelledError"),
    ],
)
@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_the_message_of_an_exception_that_is_none(
    manager: TaskManager,
    emitter: RecordingEmitter,
    function: Callable[[BaseException], Any],
    error: BaseException,
    message: str,
) -> None:
    assert wait_finished(emitter, manager.run_task(function, "bob", error))[-1] == {
        "status": "error",
        "message": message,
        "result": None,
        "username": "bob",
    }


@pytest.mark.parametrize(
    "make",
    [
        lambda gate: raises(OddText(gate)),
        lambda gate: lambda: OddText(gate),
        lambda gate: lambda: progress(None, OddText(gate)),  # type: ignore[arg-type]
    ],
    ids=["exception", "result", "progress"],
)
def test_a_text_without_an_end_does_not_hold_up_the_shutdown(
    manager: TaskManager, emitter: RecordingEmitter, make: Callable[[Gate], Callable[[], Any]]
) -> None:
    gate = Gate()
    task_id = manager.run_task(make(gate), "alice")
    assert gate.entered.wait(TIMEOUT_S)
    assert manager.shutdown(timeout=0.01) == 1
    gate.opened.set()
    end = wait_finished(emitter, task_id)[-1]
    assert end["message"] == "The manager stopped before the task finished."


@pytest.mark.parametrize("error", [RuntimeError("no"), SystemExit(1), OddText(lambda: None)])
def test_an_emitter_that_raises_costs_no_worker(
    manager: TaskManager,
    emitter: RecordingEmitter,
    error: BaseException,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    gate = Gate()
    lost = manager.run_task(gate, "alice")
    assert gate.entered.wait(TIMEOUT_S)
    failed = threading.Event()

    def emit(*_: object, **__: object) -> str:
        failed.set()
        raise error

    with monkeypatch.context() as patched, caplog.at_level(logging.ERROR):
        patched.setattr(emitter, "emit", emit)
        gate.opened.set()
        assert failed.wait(TIMEOUT_S)
    task_id = manager.run_task(lambda: "done", "alice")
    assert wait_finished(emitter, task_id)[-1]["result"] == "done"
    assert manager.shutdown(timeout=TIMEOUT_S) == 0
    assert f"the final update of task {lost} could not be sent" in caplog.text


@contextmanager
def no_threads() -> Iterator[None]:
    """Let no thread be started: the machine has no room for such a stack."""
    before = threading.stack_size(1 << 46)
    try:
        yield
    finally:
        threading.stack_size(before)


def test_without_a_thread_the_task_is_refused_and_its_user_knows(
    manager: TaskManager, emitter: RecordingEmitter
) -> None:
    with no_threads(), pytest.raises(TasksRefused, match="no thread can be started"):
        manager.run_task(lambda: None, "alice")
    assert [each.data["status"] for each in emitter.emitted] == ["in_progress", "error"]
    task_id = manager.run_task(lambda: "done", "alice")
    assert wait_finished(emitter, task_id)[-1]["result"] == "done"
    assert manager.shutdown(timeout=TIMEOUT_S) == 0


def test_without_a_further_thread_the_others_take_the_task(emitter: RecordingEmitter) -> None:
    manager = TaskManager(emitter, max_workers=2)
    gate = Gate()
    manager.run_task(gate, "alice")
    assert gate.entered.wait(TIMEOUT_S)
    with no_threads():
        task_id = manager.run_task(progress, "alice", 0.5)
    gate.opened.set()
    assert wait_finished(emitter, task_id)[-1]["status"] == "success"
    assert manager.shutdown(timeout=TIMEOUT_S) == 0


def test_progress_goes_on_when_no_thread_sends_it(
    manager: TaskManager, emitter: RecordingEmitter
) -> None:
    def work() -> str:
        with no_threads():
            progress(0.5, "half")
        return "done"

    assert wait_finished(emitter, manager.run_task(work, "alice"))[-1]["result"] == "done"


@pytest.mark.parametrize(
    "function",
    [lambda: (each for each in "ab"), functools.partial(lambda: map(print, "ab"))],
)
def test_a_function_that_returned_a_generator_has_failed(
    manager: TaskManager, emitter: RecordingEmitter, function: Callable[[], Any]
) -> None:
    end = wait_finished(emitter, manager.run_task(function, "alice"))[-1]
    assert end["status"] == "error"
    assert "whose body has not run" in end["message"]


def test_a_generator_function_is_refused_at_the_call(
    manager: TaskManager, emitter: RecordingEmitter
) -> None:
    def steps() -> Iterator[int]:
        yield 1

    with pytest.raises(TypeError, match=r"run_task takes functions .* is a generator"):
        manager.run_task(steps, "alice")
    with pytest.raises(TypeError, match="run_task takes a function, not the NoneType"):
        manager.run_task(None, "alice")  # type: ignore[arg-type]
    assert emitter.emitted == []


def test_a_disguised_coroutine_runs_and_reports_its_progress(
    manager: TaskManager, emitter: RecordingEmitter
) -> None:
    async def work() -> str:
        progress(0.5)
        await asyncio.sleep(0)
        return "done"

    end = wait_finished(emitter, manager.run_task(lambda: work(), "alice"))[-1]
    assert (end["status"], end["result"], end["progress"]) == ("success", "done", 1.0)


def test_arguments_whose_destruction_fails(
    manager: TaskManager, emitter: RecordingEmitter, monkeypatch: pytest.MonkeyPatch
) -> None:
    destroyed = threading.Semaphore(0)
    monkeypatch.setattr(sys, "unraisablehook", lambda _: destroyed.release())
    task_id = manager.run_task(lambda _: BrokenDel(), "alice", BrokenDel())
    assert wait_finished(emitter, task_id)[-1]["status"] == "success"
    assert manager.shutdown(timeout=TIMEOUT_S) == 0
    for _ in range(2):
        assert destroyed.acquire(timeout=TIMEOUT_S)


def test_a_task_may_shut_its_manager_down(manager: TaskManager, emitter: RecordingEmitter) -> None:
    task_id = manager.run_task(lambda: manager.shutdown(), "alice")
    assert wait_finished(emitter, task_id)[-1]["result"] == 0
    assert manager.shutdown(timeout=TIMEOUT_S) == 0


def test_a_task_may_start_another(emitter: RecordingEmitter) -> None:
    manager = TaskManager(emitter, max_workers=2)
    inner = manager.run_task(lambda: manager.run_task(progress, "bob", 0.5), "alice")
    outer_end = wait_finished(emitter, inner)[-1]
    assert wait_finished(emitter, outer_end["result"])[-1]["progress"] == 1.0
    assert manager.shutdown(timeout=TIMEOUT_S) == 0


@pytest.mark.parametrize("timeout", [float("inf"), 1e300, None])
def test_a_shutdown_without_a_limit(emitter: RecordingEmitter, timeout: float | None) -> None:
    manager = TaskManager(emitter)
    manager.run_task(lambda: None, "alice")
    assert manager.shutdown(timeout=timeout) == 0


def test_wrong_arguments(manager: TaskManager, emitter: RecordingEmitter) -> None:
    with pytest.raises(ValueError, match="timeout must be a number of seconds, not nan"):
        manager.shutdown(timeout=float("nan"))
    with pytest.raises(TypeError, match="max_workers must be an int, not float"):
        TaskManager(emitter, max_workers=1.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="max_workers must be at least 1"):
        TaskManager(emitter, max_workers=0)


@pytest.mark.process
def test_a_task_that_forks_runs_nothing_twice(emitter: RecordingEmitter) -> None:
    """The child returns from the function into the worker, where other tasks wait."""
    manager = TaskManager(emitter, max_workers=1)
    gate = Gate()
    reader, writer = os.pipe()

    def forks() -> int:
        gate()
        return os.fork()

    def writes() -> None:
        os.write(writer, b"ran\n")

    forked = manager.run_task(forks, "alice")
    following = manager.run_task(writes, "alice")
    gate.opened.set()
    child = wait_finished(emitter, forked)[-1]["result"]
    assert wait_finished(emitter, following)[-1]["status"] == "success"
    assert os.waitpid(child, 0) == (child, 0)
    os.close(writer)
    assert os.read(reader, 100) == b"ran\n"
    os.close(reader)
    assert manager.shutdown(timeout=TIMEOUT_S) == 0


AT_EXIT = """
import atexit, threading
from emitters.tasks import TaskManager
from tests.emitters.recording import RecordingEmitter

emitter = RecordingEmitter()

@atexit.register
def show() -> None:
    for each in emitter.emitted:
        print(each.data["status"], each.data["message"], flush=True)

manager = TaskManager(emitter)
manager.run_task(threading.Event().wait, "alice")
atexit.register(lambda: manager.run_task(threading.Event().wait, "bob"))
"""


@pytest.mark.process
def test_at_the_end_of_the_process_users_of_unfinished_tasks_are_told() -> None:
    """Of a task that runs, and of one that is started when the interpreter is about to exit."""
    result = subprocess.run(
        [sys.executable, "-c", AT_EXIT], capture_output=True, text=True, timeout=30, check=True
    )
    assert result.stderr == ""
    assert result.stdout.splitlines() == [
        "in_progress Task is running.",
        "in_progress Task is running.",
        "error The manager stopped before the task finished.",
        "error The manager stopped before the task finished.",
    ]
