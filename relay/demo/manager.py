"""The demo manager: owns a few servers and acts on them by a schedule."""

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import NamedTuple

from emitters import Emitter, EmitterError
from emitters.resources import ResourceMonitor
from emitters.tasks import TaskManager
from relay.demo.operations import Operations
from relay.demo.schedule import Do, Schedule, Step
from relay.demo.server_process import ServerError, ServerProcess
from relay.shared.interruptible import SLICE_S

TASKS_END_WITHIN_S = 0.5
EVENTS_GO_OUT_WITHIN_S = 0.8
ORPHANS_TIMEOUT_S = 5.0

COMMANDS = ("say Hello!", "time set day", "weather clear", "save-all", "list", "difficulty hard")
PLAYERS = ("Alex", "Steve", "Ari", "Kai", "Makena", "Noor", "Sunny", "Zuri", "Efe")

logger = logging.getLogger(__name__)


class _Crash(NamedTuple):
    """Tells the loop that a server has ended by itself."""

    server_name: str
    pid: int


class _Stop:
    """A step that ends the loop."""


class DemoManager:
    """Manages servers in the thread that calls `run`, until `stop`."""

    def __init__(
        self, emitter: Emitter, server_names: Sequence[str], data_dir: Path, users: Sequence[str]
    ) -> None:
        self._emitter = emitter
        self._inbox: queue.SimpleQueue[_Crash | _Stop] = queue.SimpleQueue()
        self._is_stopping = False
        """Set by `stop`. Not an `Event`: a signal handler that interrupts its `set` or `wait` would
        wait for the lock for ever."""
        self._ending = threading.Event()
        """Ends backups."""
        self._servers = {
            name: ServerProcess(name, data_dir / name, self._on_crash) for name in server_names
        }
        self._monitor = ResourceMonitor(emitter)
        self._tasks = TaskManager(emitter)
        self._operations = Operations(emitter, self._monitor, self._servers, self._ending)
        self._random = Random()
        self._schedule = Schedule(server_names, users, time.monotonic(), self._random)
        self._busy: set[str] = set()
        """Servers with a backup in progress."""

    def run(self) -> None:
        """Manage the servers until `stop`, then stop them and send the last events."""
        try:
            for name in self._servers:
                self._do(Step(Do.START, name))
            while not self._is_stopping:
                self._handle_message()
                self._do_what_is_due()
        finally:
            self._end()

    def stop(self) -> None:
        """End `run` soon. Safe to call from a signal handler."""
        self._is_stopping = True
        self._inbox.put(_Stop())
        for server in self._servers.values():
            server.interrupt()

    def _on_crash(self, server_name: str, pid: int) -> None:
        self._inbox.put(_Crash(server_name, pid))

    def _handle_message(self) -> None:
        try:
            # In slices: a signal that comes just before the wait does not end it.
            left_s = self._schedule.next_at() - time.monotonic()
            message = self._inbox.get(timeout=min(SLICE_S, max(0.0, left_s)))
        except queue.Empty:
            return
        if isinstance(message, _Crash):
            problem = self._servers[message.server_name].note_crash(message.pid)
            if problem is not None:
                logger.warning("%s; starting it again soon", problem)
                self._emit(lambda: self._operations.emit_crash(message.server_name, problem))
                self._emit(self._operations.emit_statuses)
                self._schedule.start_again(message.server_name, time.monotonic())

    def _do_what_is_due(self) -> None:
        running = {name for name, server in self._servers.items() if server.is_running}
        for step in self._schedule.take_due(time.monotonic(), running, self._busy):
            if not self._is_stopping:
                self._do(step)

    def _do(self, step: Step) -> None:
        try:
            self._carry_out(step)
        # Any error: a damaged file or a full disk must not end the manager.
        except Exception as error:
            if not self._is_stopping:
                logger.warning("%s", error, exc_info=not isinstance(error, ServerError))
                self._try_again(step)
        if step.do in (Do.START, Do.STOP, Do.RESTART):
            self._emit(self._operations.emit_statuses)

    def _try_again(self, step: Step) -> None:
        server = self._servers.get(step.server_name)
        if server is not None and not server.is_running:
            self._schedule.start_again(step.server_name, time.monotonic())

    def _carry_out(self, step: Step) -> None:
        name, operations = step.server_name, self._operations
        match step.do:
            case Do.START:
                operations.start_server(name)
            case Do.STOP:
                operations.stop_server(name)
                self._schedule.start_again(name, time.monotonic())
            case Do.RESTART:
                operations.stop_server(name)
                operations.start_server(name)
            case Do.SEND_COMMAND:
                operations.send_command(name, self._random.choice(COMMANDS))
            case Do.CHANGE_ALLOWLIST:
                added, removed = self._random.sample(PLAYERS, 2)
                operations.change_allowlist(name, [added], [removed])
            case Do.BACK_UP:
                self._emit(lambda: self._tasks.run_task(self._back_up, step.username, name))
            case Do.EMIT_STATUSES:
                self._emit(operations.emit_statuses)

    def _emit(self, emit: Callable[[], object]) -> None:
        """Call `emit`; an outbox that is full after a long outage does not end the manager."""
        try:
            emit()
        except EmitterError as error:
            logger.warning("an event was not emitted: %s", error)

    def _back_up(self, server_name: str) -> dict[str, object]:
        self._busy.add(server_name)
        try:
            return self._operations.back_up_and_prune(server_name)
        finally:
            self._busy.discard(server_name)

    def _stop_server(self, name: str) -> None:
        try:
            self._operations.stop_server(name)
        except (ServerError, OSError) as error:
            logger.warning("%s was not stopped: %s", name, error)

    def _end(self) -> None:
        self._ending.set()
        self._monitor.stop()
        running = [name for name, server in self._servers.items() if server.is_running]
        with ThreadPoolExecutor(max(1, len(running))) as pool:
            list(pool.map(self._stop_server, running))
        self._tasks.shutdown(timeout=TASKS_END_WITHIN_S if self._is_stopping else 0)
        self._emit(self._operations.emit_statuses)
        unsent = self._emitter.close(EVENTS_GO_OUT_WITHIN_S)
        if unsent:
            logger.warning("%d events could not be sent", unsent)
