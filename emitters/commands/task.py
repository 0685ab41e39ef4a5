"""`event-emit task`: a command that runs as a user's task."""

import contextvars
import signal
import threading
import time
from collections.abc import Sequence
from typing import Any

import click

from emitters.commands.child_command import ChildCommand
from emitters.commands.session import (
    BadInput,
    Unreachable,
    explain,
    open_emitter,
    relay_options,
    say,
)
from emitters.tasks import TaskFailed, TaskManager, progress
from relay.shared.program import flush_quietly, require_posix
from relay.wire.errors import WireError

EXIT_NOT_EXECUTABLE = 126
EXIT_NOT_FOUND = 127
PASSED_ON = ("SIGTERM", "SIGINT", "SIGHUP")


@click.command(
    short_help="Run a command as a user's task.",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.option("--user", "username", required=True, help="Whose task it is.")
@relay_options
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def task(username: str, command: tuple[str, ...], timeout: float, **relay: Any) -> None:
    """Run COMMAND and let its user follow it.

    The task's message is the last line of output so far. It ends as success with the exit code, or
    as error with the end of standard error and the exit code. Output goes through unchanged, and
    the exit code is the command's. SIGTERM and SIGINT are passed on to the command, and end the
    task as an error. The command does not read from the terminal.

    \b
    Examples:
      event-emit task --user alice -- rsync -a world/ backup/
      event-emit task --user alice -- sh -c 'make && make install'
    """
    # It passes signals on to a process group.
    require_posix("event-emit task")
    run = _Run(command)
    # Before the command is started: a signal in the meantime must reach it as well.
    for name in PASSED_ON:
        signal.signal(signal.Signals[name], run.on_signal)
    with open_emitter(**relay) as emitter:
        if not emitter.wait_connected(timeout):
            raise Unreachable(timeout, "the command was not started")
        tasks = TaskManager(emitter)
        run.is_due = True
        try:
            tasks.run_task(run, username)
        except WireError as error:
            raise BadInput(explain(error)) from None
        tasks.shutdown()
        if emitter.close(timeout):
            fate = "could not be sent" if emitter.spool is None else "is kept in the spool"
            say(f"the relay has gone; the final update {fate}")
    flush_quietly("stdout")
    raise SystemExit(run.exit_code)


class _Run:
    """One run of a command, as the function of a task."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command
        self._child: ChildCommand | None = None
        self._signal: int | None = None
        self.exit_code = 0
        self.is_due = False
        """Whether the command is started, now or soon. Before, a signal ends the program."""

    def on_signal(self, number: int, _frame: object) -> None:
        """Pass the signal on; installed as signal handler."""
        if not self.is_due:
            raise SystemExit(128 + number)
        self._signal = number
        if self._child is not None:
            self._child.pass_on(number)

    def __call__(self) -> dict[str, Any]:
        started_at = time.monotonic()
        # `progress` finds the task in this context. Two threads read output, and a context can be
        # entered by one at a time.
        context = contextvars.copy_context()
        lock = threading.Lock()

        def report(line: str) -> None:
            with lock:
                context.run(progress, None, line)

        try:
            self._child = ChildCommand(self._command, report)
        except OSError as error:
            not_found = isinstance(error, FileNotFoundError)
            self.exit_code = EXIT_NOT_FOUND if not_found else EXIT_NOT_EXECUTABLE
            problem = f"{self._command[0]}: {error.strerror}"
            say(problem)
            raise TaskFailed(problem, {"exit_code": self.exit_code}) from None
        # A signal that came before the child was there must not be lost.
        if self._signal is not None:
            self._child.pass_on(self._signal)
        self.exit_code = self._child.wait()
        result = {
            "exit_code": self.exit_code,
            "duration_s": round(time.monotonic() - started_at, 3),
        }
        return self._judge(self._child.stderr_tail, result)

    def _judge(self, stderr_tail: str, result: dict[str, Any]) -> dict[str, Any]:
        if self._signal is not None:
            raise TaskFailed(f"Stopped by {signal.Signals(self._signal).name}.", result)
        if self.exit_code != 0:
            message = stderr_tail or f"The command ended with exit code {self.exit_code}."
            raise TaskFailed(message, result)
        return result
