"""`TaskCall`: the call of one task's function, and `progress`, which it reports."""

import contextvars
import logging
import os
import threading
from collections.abc import Callable
from typing import Any

from emitters.core.failure import MAX_MESSAGE_BYTES, TaskFailed, failure_of
from emitters.core.readable import carry_text, type_name
from emitters.core.task_state import TaskState, clamped
from emitters.fault_log import log_fault
from emitters.returned import settle

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
        self._function = function
        self._args = args
        self._kwargs = kwargs
        # The function sees the context variables of the code that started the task.
        self._context = contextvars.copy_context()

    def run(self) -> TaskState:
        """Call the function, wait for its outcome, and return the task's final state.

        Raises nothing: an exception of any kind is the end of the task and not of its thread.
        """
        try:
            result = self._context.run(self._call)
            return self.state.succeeded(result)
        except BaseException as error:  # noqa: BLE001 - `SystemExit` of a task ends no thread either
            return self._failed(error)

    def _call(self) -> Any:
        token = _current_task.set(self)
        try:
            return settle(self._function, self._function(*self._args, **self._kwargs))
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
