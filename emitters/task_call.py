"""`TaskCall`: the call of one task's function, the progress that it reports, and its cancelling."""

import contextvars
import logging
import os
import threading
from asyncio import CancelledError
from collections.abc import Callable
from concurrent.futures import CancelledError as FutureCancelled
from typing import Any

from emitters.core.failure import MAX_MESSAGE_BYTES, TaskFailed, failure_of
from emitters.core.readable import carry_text, type_name
from emitters.core.task_state import TaskState, clamped
from emitters.fault_log import log_fault
from emitters.returned import Stop, settle

Report = Callable[["TaskCall", float | None, str | None], None]

logger = logging.getLogger(__name__)


def progress(fraction: float | None = None, message: str | None = None) -> None:
    """Report the progress of the running task to its user.

    `fraction` is clamped to 0 to 1; None keeps the previous fraction or message. Cheap to call in a
    tight loop: the newest values are sent at most every 0.25 s. Outside of a task, and in a process
    that the task forked, it does nothing, so that the same function can be called directly too.

    Raises `TypeError` for a fraction that is no number.
    """
    task = current_task()
    if task is not None:
        # Here and not under the manager's lock: the text of a message may take any time.
        text = None if message is None else carry_text(message, MAX_MESSAGE_BYTES)
        task.report(task, None if fraction is None else clamped(fraction), text)


def is_cancelled() -> bool:
    """Return whether the running task was cancelled: then its function should end soon.

    Cheap to call in a tight loop. A task whose function has been told so ends as `cancelled` when
    the function returns. False outside of a task.
    """
    task = current_task()
    return task is not None and task.sees_cancel()


def current_task() -> "TaskCall | None":
    """Return the task in whose call this code runs, None outside and in a forked process."""
    task = _current_task.get()
    return task if task is not None and task.pid == os.getpid() else None


class TaskCall:
    """One call that runs or waits to run."""

    def __init__(
        self,
        state: TaskState,
        report: Report,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        self.state = state
        self.report = report
        """Takes its progress."""
        self.update_lock = threading.Lock()
        """Held while an update is sent, so that no update follows the final one."""
        self.pid = os.getpid()
        self.has_begun = False
        """Whether a thread has taken it; set under the manager's lock."""
        self._cancel_lock = threading.Lock()
        self._is_cancelled = False
        self._has_seen_cancel = False
        """Whether the function was told that it is cancelled."""
        self._stop: Stop | None = None
        """Ends what the function has returned and this call waits for."""
        self._function = function
        self._args = args
        self._kwargs = kwargs
        # The function sees the context variables of the code that started the task.
        self._context = contextvars.copy_context()

    def cancel(self) -> None:
        """Ask the function to end. A coroutine or future that it has returned is cancelled."""
        with self._cancel_lock:
            stop = None if self._is_cancelled else self._stop
            self._is_cancelled = True
            self._has_seen_cancel |= stop is not None
        if stop is not None:
            stop()

    def sees_cancel(self) -> bool:
        """Return whether the task was cancelled, to its own function."""
        self._has_seen_cancel |= self._is_cancelled
        return self._is_cancelled

    def run(self) -> TaskState:
        """Call the function, wait for its outcome, and return the task's final state.

        Raises nothing: an exception of any kind is the end of the task and not of its thread.
        """
        if self._is_cancelled:
            return self.state.cancelled()
        try:
            result = self._context.run(self._call)
            if self._has_seen_cancel:
                return self.state.cancelled(result)
            return self.state.succeeded(result)
        except (CancelledError, FutureCancelled) as error:
            return self.state.cancelled() if self._is_cancelled else self._failed(error)
        except BaseException as error:  # noqa: BLE001 - `SystemExit` of a task ends no thread either
            return self._failed(error)

    def _watch(self, stop: Stop) -> None:
        """Remember how to stop what this call waits for now; stop it if it is cancelled already."""
        with self._cancel_lock:
            self._stop = stop
            must_stop = self._is_cancelled and not self._has_seen_cancel
            self._has_seen_cancel |= must_stop
        if must_stop:
            stop()

    def _call(self) -> Any:
        token = _current_task.set(self)
        try:
            returned = self._function(*self._args, **self._kwargs)
            return settle(self._function, returned, self._watch)
        finally:
            # Or task and context would hold each other, and with them arguments of any size.
            _current_task.reset(token)

    def _failed(self, error: BaseException) -> TaskState:
        try:
            if not isinstance(error, TaskFailed):
                log_fault(logger, error, "task %s failed", self.state.id)
            failure = failure_of(error)
            return self.state.failed(failure.message, failure.result)
        except BaseException:  # noqa: BLE001 - reading the exception raised `SystemExit`
            return self.state.failed(f"({type_name(error)} without a readable text)")


_current_task: contextvars.ContextVar[TaskCall | None] = contextvars.ContextVar(
    "task", default=None
)
