"""`TaskManager`: functions that run in the background while their user sees their state.

    tasks = TaskManager(emitter)
    task_id = tasks.run_task(backup, "alice", "survival", keep=3)

Inside the function `progress(0.5, "Half way")` reports its progress, and `is_cancelled()` tells
whether the task was cancelled. The states themselves are in
`emitters.core.task_state`, and the call of the function is in `emitters.task_call`.

Lock order: a task's `update_lock`, then the manager's lock, then the emitter's. Code of the caller
(the function, texts of its exceptions and results) runs under none of them.
"""

import logging
import math
import os
import threading
import time
import uuid
import weakref
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, ParamSpec

from emitters.core.failure import TaskFailed
from emitters.core.ports import EmitsTasks
from emitters.core.progress_pacing import Pacer
from emitters.core.readable import carry_text, type_name
from emitters.core.task_state import ORPHANED_MESSAGE, TaskState
from emitters.errors import OutboxFull
from emitters.exit_hook import ExitHook
from emitters.forks import in_forked_child
from emitters.returned import refuse_function
from emitters.shielded import shielded
from emitters.task_call import TaskCall, current_task, is_cancelled, progress
from relay.shared.logs import LimitedLog
from relay.shared.newest import Newest

__all__ = ["TaskFailed", "TaskManager", "TasksRefused", "is_cancelled", "progress"]

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
    """The task was not taken: the manager is shut down, 1000 tasks wait already, or no thread can
    be started."""


class TaskManager:
    """Runs tasks in up to `max_workers` threads; up to 1000 further ones wait for a thread.

    The user gets an update at once when a task is taken, and exactly one when it has ended. The
    threads are daemon threads: only `shutdown` waits for them. At the end of the process, users of
    unfinished tasks get the update of `shutdown(wait=False)`.

    Whatever a task raises is the end of this task alone, as an error with the exception's text:
    also `SystemExit`, `KeyboardInterrupt`, `GeneratorExit` and `CancelledError`.

    In a forked process it begins without tasks: those of the parent are run by the parent.
    """

    def __init__(self, emitter: EmitsTasks, *, max_workers: int = DEFAULT_MAX_WORKERS) -> None:
        if not isinstance(max_workers, int):
            raise TypeError(f"max_workers must be an int, not {type_name(max_workers)}")
        if max_workers < 1:
            raise ValueError(f"max_workers must be at least 1, not {max_workers}")
        self._emitter = emitter
        self._log = LimitedLog(logger)
        self._max_workers = max_workers
        self._shut_down = False
        self._exit_hook = ExitHook(partial(_end_at_exit, weakref.ref(self)))
        self._exit_hook_pid = 0
        self._begin()
        in_forked_child(self, TaskManager._begin)

    def _begin(self) -> None:
        """Begin without tasks and without threads."""
        self._changed = threading.Condition()
        """Guards the fields below; notified when a task ends and when progress becomes due."""
        self._active: dict[str, TaskCall] = {}
        """The tasks that wait or run."""
        self._finished: Newest[str, TaskState] = Newest(
            MAX_FINISHED_TASKS, MAX_FINISHED_BYTES, TaskState.size_bytes
        )
        self._waiting: deque[TaskCall] = deque()
        self._workers = 0
        self._pacer = Pacer(PROGRESS_INTERVAL_S)
        self._has_progress_thread = False
        """Whether the thread runs that sends progress; it ends with the last active task."""
        self._give_up = threading.Event()
        """Set by `shutdown`: final updates that a full outbox refuses are not tried again."""

    def run_task(
        self, function: Callable[P, Any], username: str, *args: P.args, **kwargs: P.kwargs
    ) -> str:
        """Run `function(*args, **kwargs)` as a task of `username` and return the task's id.

        A coroutine, another awaitable or a future that the function returns is waited for, in an
        event loop of the task's own thread; its outcome is the task's. If the function returns a
        generator, the task ends as an error.

        Raises `TasksRefused`, `TypeError` for a function that cannot be run, or what `Emitter.emit`
        raises; then nothing is run.
        """
        refuse_function(function, "run_task")
        state = TaskState(id=uuid.uuid4().hex, username=username)
        task = TaskCall(state, self._advance, function, args, kwargs)
        shielded(self._take, task)
        return state.id

    def _take(self, task: TaskCall) -> None:
        """Announce the task and let a thread run it."""
        state = task.state
        with self._changed:
            self._refuse_when_full()
            self._active[state.id] = task
        # Sent before it may run, or the final update could overtake this one.
        try:
            self._send_start(task)
            self._register_exit_hook()
        except BaseException:
            with self._changed:
                self._active.pop(state.id, None)
                self._changed.notify_all()
            raise
        problem = self._enqueue(task)
        if problem is not None:
            self._finish(task, task.state.failed(problem))
            raise TasksRefused(problem)

    def cancel(self, task_id: str) -> bool:
        """Cancel a task that waits or runs; return False for one that has ended, or is unknown.

        A task that waits never begins. Of one that runs, a coroutine or future that it waits for is
        cancelled, and a plain function is asked to end: `is_cancelled()` is true for it. It ends as
        `cancelled`, with its result if it returns one, unless its function was not told in time or
        raises another exception than `CancelledError`.
        """
        return shielded(self._cancel, task_id)

    def _cancel(self, task_id: str) -> bool:
        with self._changed:
            task = self._active.get(task_id)
            if task is None or task.state.is_finished:
                return False
            has_begun = task.has_begun
            if not has_begun:
                # Here: a thread that takes it now finds it cancelled. There is nothing to stop, so
                # no code of the caller runs under the lock.
                task.cancel()
                if task in self._waiting:
                    self._waiting.remove(task)
        if has_begun:
            task.cancel()
        else:
            self._finish(task, task.state.cancelled())
        return True

    def get_task(self, task_id: str) -> TaskState | None:
        """Return the state of a task, None when it is unknown or finished long ago."""
        # Without a lock: a task that ends is among the finished ones before it stops being active.
        task = self._active.get(task_id)
        return task.state if task is not None else self._finished.get(task_id)

    def get_all_tasks(self) -> dict[str, TaskState]:
        """Return the states of all tasks that are not finished, and of the latest that are."""
        return shielded(self._copy_states)

    def _copy_states(self) -> dict[str, TaskState]:
        with self._changed:
            active = {task_id: task.state for task_id, task in self._active.items()}
            return dict(self._finished.items()) | active

    def shutdown(self, *, wait: bool = True, timeout: float | None = None) -> int:
        """Refuse new tasks, wait for the others, and return the number that did not finish.

        Waits for at most `timeout` seconds; with None without limit, with `wait=False` not at all.
        The user of a task that did not finish gets a final update with the status `error`. A task
        that calls it does not wait for itself.

        Raises `ValueError` for a timeout that is not a number.
        """
        if timeout is not None and math.isnan(timeout):
            raise ValueError("timeout must be a number of seconds, not nan")
        # Longer times, and infinity, are the same as no limit.
        limit = None if timeout is None or timeout > threading.TIMEOUT_MAX else timeout
        return shielded(self._end_all, limit if wait else 0)

    def _end_all(self, limit: float | None) -> int:
        """End every task but the caller's, after at most `limit` seconds."""
        caller = current_task()

        def others() -> list[TaskCall]:
            return [task for task in self._active.values() if task is not caller]

        with self._changed:
            self._shut_down = True
            self._changed.wait_for(lambda: not others(), limit)
            unfinished = others()
            self._waiting.clear()
        self._exit_hook.cancel()
        # Workers that wait for room in the outbox must not hold the updates below.
        self._give_up.set()
        for task in unfinished:
            self._finish(task, task.state.failed(ORPHANED_MESSAGE))
        return len(unfinished)

    def _register_exit_hook(self) -> None:
        """Register it in this process, after that of the emitter, so that it is called before."""
        with self._changed:
            if self._exit_hook_pid != os.getpid():
                self._exit_hook_pid = os.getpid()
                self._exit_hook.register()

    def _refuse_when_full(self) -> None:
        if self._shut_down:
            raise TasksRefused("the task manager is shut down")
        # Tasks that are being announced are active and not waiting yet; many threads may do so.
        if len(self._active) >= MAX_WAITING_TASKS + self._max_workers:
            raise TasksRefused(f"{MAX_WAITING_TASKS} tasks wait already")

    def _enqueue(self, task: TaskCall) -> str | None:
        """Let a thread take the task; return the reason if none can be started."""
        with self._changed:
            if task.state.is_finished:
                return None  # Shut down or cancelled meanwhile; its user got the final update.
            self._waiting.append(task)
            if self._workers == self._max_workers:
                return None
            try:
                _start_thread(self._work, f"task-worker-{self._workers + 1}")
            except Exception as error:  # noqa: BLE001 - `RuntimeError`, `MemoryError`
                if self._workers:
                    return None
                self._waiting.remove(task)
                return f"no thread can be started: {error}"
            self._workers += 1
            return None

    def _send_start(self, task: TaskCall) -> None:
        with task.update_lock:
            if task.state.status == "cancelled":
                return
            if task.state.is_finished:
                raise TasksRefused("the task manager is shut down")
            self._send(task.state)

    def _work(self) -> None:
        pid = os.getpid()
        while True:
            with self._changed:
                if not self._waiting:
                    self._workers -= 1
                    return
                task = self._waiting.popleft()
                task.has_begun = True
            final = task.run()
            if os.getpid() != pid:
                # Its function has forked: the other tasks are the parent's. This is the child's
                # only thread. Its end would be that of the process too, but libraries would be
                # closed then whose threads are not here, and may crash.
                os._exit(0)
            try:
                self._finish(task, final)
            except BaseException:  # A fault must not cost the thread, which runs other tasks too.
                logger.exception("the end of task %s has failed", final.id)

    def _finish(self, task: TaskCall, final: TaskState) -> None:
        """Note and send the final state, unless there is one; free the task's place."""
        with task.update_lock:
            with self._changed:
                if task.state.is_finished:
                    return
                task.state = final
            try:
                self._send_final(final)
            finally:
                self._release(final)

    def _release(self, final: TaskState) -> None:
        with self._changed:
            self._finished.keep(final.id, final)
            self._active.pop(final.id, None)
            self._pacer.forget(final.id)
            self._changed.notify_all()

    def _send(self, state: TaskState) -> None:
        # A task that has not ended dies with its process: then the relay ends it.
        self._emitter.emit(
            state.topic,
            state.data(),
            type="task_update",
            username=state.username,
            while_connected=not state.is_finished,
        )

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
                problem: BaseException = error
            except BaseException as error:  # noqa: BLE001 - the worker and its slot must survive
                problem = error
            text = carry_text(problem)
            logger.error("the final update of task %s could not be sent: %s", state.id, text)
            return

    def _advance(self, task: TaskCall, fraction: float | None, message: str | None) -> None:
        with self._changed:
            if task.state.is_finished:
                return
            task.state = task.state.advanced(fraction, message)
            self._pacer.changed(task.state.id, time.monotonic())
            if not self._has_progress_thread:
                try:
                    _start_thread(self._send_due_progress, "task-progress")
                except Exception as error:  # noqa: BLE001 - the task goes on without
                    self._log.warning("progress", "progress cannot be sent: %s", error)
                    return
                self._has_progress_thread = True
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

    def _send_progress(self, task: TaskCall) -> None:
        with task.update_lock:
            if task.state.is_finished:
                return
            try:
                self._send(task.state)
            except BaseException as error:  # noqa: BLE001 - the thread sends that of other tasks too
                text = carry_text(error)
                logger.warning("progress of task %s could not be sent: %s", task.state.id, text)


def _start_thread(target: Callable[[], None], name: str) -> None:
    threading.Thread(target=target, name=name, daemon=True).start()


def _end_at_exit(manager: "weakref.ref[TaskManager]") -> None:
    living = manager()
    if living is not None:
        living.shutdown(wait=False)
