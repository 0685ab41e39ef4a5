"""`TaskManager`: functions that run in the background while their user sees their state.

    tasks = TaskManager(emitter)
    task_id = tasks.run_task(backup, "alice", "survival", keep=3)

Inside the function `progress(0.5, "Half way")` reports its progress. The states themselves are in
`emitters.core.task_state`.

Lock order: a task's `update_lock`, then the manager's lock, then the emitter's.
"""

import asyncio
import contextvars
import inspect
import logging
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from typing import Any, ParamSpec

from emitters.core.ports import EmitsTasks
from emitters.core.progress_pacing import Pacer
from emitters.core.task_state import ORPHANED_MESSAGE, TaskState
from emitters.errors import EmitterError, OutboxFull, RelayUnavailable
from relay.shared.newest import Newest

P = ParamSpec("P")

DEFAULT_MAX_WORKERS = 8
MAX_WAITING_TASKS = 1000
MAX_FINISHED_TASKS = 200
MAX_FINISHED_BYTES = 16 * 1024 * 1024
"""Bounds the states of finished tasks; the task that ended first is forgotten first."""
PROGRESS_INTERVAL_S = 0.25
FINAL_UPDATE_RETRY_S = 0.1
FINAL_UPDATE_TIMEOUT_S = 60.0

logger = logging.getLogger(__name__)


class TasksRefused(RuntimeError):  # noqa: N818 - the name says what it is at every call site
    """The task was not taken: the manager is shut down, or 1000 tasks wait already."""


class TaskFailed(Exception):  # noqa: N818
    """Raised by a task's function: the task ends as an error with this message and `result`."""

    def __init__(self, message: str, result: object = None) -> None:
        super().__init__(message)
        self.result = result


def progress(fraction: float | None = None, message: str | None = None) -> None:
    """Report the progress of the running task to its user.

    `fraction` is clamped to 0 to 1; None keeps the previous fraction or message. Cheap to call in a
    tight loop: the newest values are sent at most every 0.25 s. Outside of a task it does nothing,
    so that the same function can be called directly too.
    """
    task = _current_task.get()
    if task is not None:
        task.manager._advance(task, fraction, message)


class TaskManager:
    """Runs tasks in up to `max_workers` threads; up to 1000 further ones wait for a thread.

    The user gets an update at once when a task is taken, and exactly one when it has ended. The
    threads are daemon threads: only `shutdown` waits for them.
    """

    def __init__(self, emitter: EmitsTasks, *, max_workers: int = DEFAULT_MAX_WORKERS) -> None:
        if max_workers < 1:
            raise ValueError(f"max_workers must be at least 1, not {max_workers}")
        self._emitter = emitter
        self._max_workers = max_workers
        self._changed = threading.Condition()
        """Guards the fields below; notified when a task ends and when progress becomes due."""
        self._active: dict[str, _Task] = {}
        """The tasks that wait or run."""
        self._finished: Newest[str, TaskState] = Newest(
            MAX_FINISHED_TASKS, MAX_FINISHED_BYTES, TaskState.size_bytes
        )
        self._waiting: deque[_Task] = deque()
        self._workers = 0
        self._pacer = Pacer(PROGRESS_INTERVAL_S)
        self._has_progress_thread = False
        """Whether the thread runs that sends progress; it ends with the last active task."""
        self._shut_down = False
        self._give_up = threading.Event()
        """Set by `shutdown`: final updates that a full outbox refuses are not tried again."""

    def run_task(
        self, function: Callable[P, Any], username: str, /, *args: P.args, **kwargs: P.kwargs
    ) -> str:
        """Run `function(*args, **kwargs)` as a task of `username` and return the task's id.

        Raises `TasksRefused`, or what `Emitter.emit` raises; then nothing is run.
        """
        state = TaskState(id=uuid.uuid4().hex, username=username)
        task = _Task(self, state, function, args, kwargs)
        with self._changed:
            self._refuse_when_full()
            self._active[state.id] = task
        # Sent before it may run, or the final update could overtake this one.
        try:
            self._send_start(task)
        except BaseException:
            with self._changed:
                self._active.pop(state.id, None)
                self._changed.notify_all()
            raise
        with self._changed:
            if task.state.is_finished:
                return state.id  # Shut down meanwhile, and its user got the final update.
            self._waiting.append(task)
            if self._workers < self._max_workers:
                self._workers += 1
                self._start_thread(self._work, f"task-worker-{self._workers}")
        return state.id

    def get_task(self, task_id: str) -> TaskState | None:
        """Return the state of a task, None when it is unknown or finished long ago."""
        with self._changed:
            task = self._active.get(task_id)
            return task.state if task is not None else self._finished.get(task_id)

    def get_all_tasks(self) -> dict[str, TaskState]:
        """Return the states of all tasks that are not finished, and of the latest that are."""
        with self._changed:
            active = {task_id: task.state for task_id, task in self._active.items()}
            return dict(self._finished.items()) | active

    def close_orphans(self, timeout: float = 5.0) -> int:
        """End the unfinished tasks of an earlier process with this emitter's name.

        Their users get a final update with the status `error`. Returns the number of such tasks.
        Raises `RelayUnavailable` when the relay does not answer within `timeout` seconds, or does
        not take this emitter's events because the earlier process still lives.
        """
        give_up_at = time.monotonic() + timeout
        emitter = self._emitter
        # Events that an earlier process left in a spool may end its tasks, so they come first.
        if not (emitter.wait_connected(timeout) and emitter.wait_acknowledged(_until(give_up_at))):
            raise RelayUnavailable(f"the relay does not take the events of {emitter.name} yet")
        orphans = 0
        for topic, envelope in emitter.retained("task:", _until(give_up_at)):
            task_id = topic.removeprefix("task:")
            if (
                envelope.source != emitter.name
                or envelope.username is None
                or envelope.data.get("status") != "in_progress"
                or self.get_task(task_id) is not None
            ):
                continue
            self._send(TaskState(task_id, envelope.username).failed(ORPHANED_MESSAGE))
            orphans += 1
        return orphans

    def shutdown(self, *, wait: bool = True, timeout: float | None = None) -> int:
        """Refuse new tasks, wait for the others, and return the number that did not finish.

        Waits for at most `timeout` seconds; with None without limit, with `wait=False` not at all.
        The user of a task that did not finish gets a final update with the status `error`.
        """
        with self._changed:
            self._shut_down = True
            self._changed.wait_for(lambda: not self._active, timeout if wait else 0)
            unfinished = list(self._active.values())
            self._waiting.clear()
        # Workers that wait for room in the outbox must not hold the updates below.
        self._give_up.set()
        for task in unfinished:
            self._finish(task, task.state.failed(ORPHANED_MESSAGE))
        return len(unfinished)

    def _refuse_when_full(self) -> None:
        if self._shut_down:
            raise TasksRefused("the task manager is shut down")
        # Tasks that are being announced are active and not waiting yet; many threads may do so.
        if len(self._active) >= MAX_WAITING_TASKS + self._max_workers:
            raise TasksRefused(f"{MAX_WAITING_TASKS} tasks wait already")

    def _start_thread(self, target: Callable[[], None], name: str) -> None:
        threading.Thread(target=target, name=name, daemon=True).start()

    def _send_start(self, task: "_Task") -> None:
        with task.update_lock:
            if task.state.is_finished:
                raise TasksRefused("the task manager is shut down")
            self._send(task.state)

    def _work(self) -> None:
        while True:
            with self._changed:
                if not self._waiting:
                    self._workers -= 1
                    return
                task = self._waiting.popleft()
            self._finish(task, task.run())

    def _finish(self, task: "_Task", final: TaskState) -> None:
        with task.update_lock:
            with self._changed:
                if task.state.is_finished:
                    return
                task.state = final
            self._send_final(final)
        with self._changed:
            self._active.pop(final.id, None)
            self._pacer.forget(final.id)
            self._finished.keep(final.id, final)
            self._changed.notify_all()

    def _send(self, state: TaskState) -> None:
        self._emitter.emit(state.topic, state.data(), type="task_update", username=state.username)

    def _send_final(self, state: TaskState) -> None:
        """Send the final `state`; while the outbox is full, try again for a minute."""
        give_up_at = time.monotonic() + FINAL_UPDATE_TIMEOUT_S
        while True:
            try:
                self._send(state)
                return
            except OutboxFull as error:
                if time.monotonic() < give_up_at and not self._give_up.wait(FINAL_UPDATE_RETRY_S):
                    continue
                logger.error("the final update of task %s could not be sent: %s", state.id, error)
                return
            except EmitterError as error:
                logger.error("the final update of task %s could not be sent: %s", state.id, error)
                return

    def _advance(self, task: "_Task", fraction: float | None, message: str | None) -> None:
        with self._changed:
            if task.state.is_finished:
                return
            task.state = task.state.advanced(fraction, message)
            self._pacer.changed(task.state.id, time.monotonic())
            if not self._has_progress_thread:
                self._has_progress_thread = True
                self._start_thread(self._send_due_progress, "task-progress")
            self._changed.notify_all()

    def _send_due_progress(self) -> None:
        """Send progress when it is due, until no task is active."""
        while True:
            with self._changed:
                due = self._pacer.take_due(time.monotonic())
                if not due:
                    if not self._active:
                        self._has_progress_thread = False
                        return
                    self._changed.wait(self._until_due_s())
                tasks = [task for task_id in due if (task := self._active.get(task_id))]
            for task in tasks:
                self._send_progress(task)

    def _until_due_s(self) -> float | None:
        due_at = self._pacer.next_due_at()
        return None if due_at is None else max(0.0, due_at - time.monotonic())

    def _send_progress(self, task: "_Task") -> None:
        with task.update_lock:
            if task.state.is_finished:
                return
            try:
                self._send(task.state)
            except EmitterError as error:
                logger.warning("progress of task %s could not be sent: %s", task.state.id, error)


class _Task:
    """One call that runs or waits to run."""

    def __init__(
        self,
        manager: TaskManager,
        state: TaskState,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        self.manager = manager
        self.state = state
        self.update_lock = threading.Lock()
        """Held while an update is sent, so that no update follows the final one."""
        self._function = function
        self._args = args
        self._kwargs = kwargs
        # The function sees the context variables of the code that started the task.
        self._context = contextvars.copy_context()

    def run(self) -> TaskState:
        """Call the function and return the task's final state."""
        try:
            result = self._context.run(self._call)
            return self.state.succeeded(result)
        except TaskFailed as error:
            return self.state.failed(error, error.result)
        except BaseException as error:  # SystemExit of a task must not end its worker either.
            logger.warning("task %s failed", self.state.id, exc_info=True)
            return self.state.failed(str(error) or type(error).__name__)

    def _call(self) -> Any:
        _current_task.set(self)
        if inspect.iscoroutinefunction(self._function):
            return asyncio.run(self._function(*self._args, **self._kwargs))
        return self._function(*self._args, **self._kwargs)


def _until(deadline: float) -> float:
    return max(0.0, deadline - time.monotonic())


_current_task: contextvars.ContextVar[_Task | None] = contextvars.ContextVar("task", default=None)
