"""`ResourceMonitor`: CPU and memory of servers, measured only while somebody looks.

    monitor = ResourceMonitor(emitter)
    monitor.watch("survival", process.pid)

It owns one thread. What a process uses is read in `emitters.process_tree`.
"""

import logging
import threading
import time
from types import TracebackType
from typing import Self

import psutil

from emitters.core.ports import EmitsWatched
from emitters.errors import EmitterError
from emitters.process_tree import ProcessTree, Reading, process_info
from relay.shared.logs import LimitedLog
from relay.wire.topics import parse_topic

FIRST_SAMPLE_AFTER_S = 0.2
"""The CPU's use is measured between two readings; the first sample waits this long for it."""

STOP_TIMEOUT_S = 5.0

logger = logging.getLogger(__name__)


class ResourceMonitor:
    """Publishes `resource-monitor:{server_name}` every `interval_s` seconds while it is watched.

    The data is `{"process_info": {"pid", "cpu_percent", "memory_mb", "uptime"}}` for the process
    with all its descendants, or `{"process_info": None}` when the process is gone. While nobody
    watches, nothing is read and the thread sleeps.
    """

    def __init__(self, emitter: EmitsWatched, interval_s: float = 1.0) -> None:
        if interval_s <= 0:
            raise ValueError(f"interval_s must be positive, not {interval_s}")
        self._emitter = emitter
        self._interval_s = interval_s
        self._lock = threading.Lock()
        self._servers: dict[str, _Server] = {}
        self._log = LimitedLog(logger)
        self._stopping = False
        self._wake = threading.Event()
        self.samples_taken = 0
        """How often a server was measured for a value to publish."""
        self._thread = threading.Thread(target=self._run, name="resource-monitor", daemon=True)
        self._thread.start()
        emitter.on_watch_change(self._wake.set)

    def watch(self, server_name: str, pid: int) -> None:
        """Publish what process `pid` uses as that of `server_name`, instead of a process before.

        Raises `InvalidTopic` for a name that no topic can have.
        """
        parse_topic(_topic(server_name))
        server = _Server(server_name, ProcessTree(pid))
        with self._lock:
            self._servers[server_name] = server
        self._wake.set()

    def forget(self, server_name: str) -> None:
        """Publish nothing more of `server_name`."""
        with self._lock:
            self._servers.pop(server_name, None)

    def stop(self) -> None:
        """End the thread; nothing is published afterwards."""
        self._stopping = True
        self._wake.set()
        if threading.current_thread() is not self._thread:
            self._thread.join(STOP_TIMEOUT_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _run(self) -> None:
        while not self._stopping:
            self._wake.clear()
            with self._lock:
                servers = list(self._servers.values())
            due_at = [self._visit(server, time.monotonic()) for server in servers]
            next_at = min((at for at in due_at if at is not None), default=None)
            self._wake.wait(None if next_at is None else max(0.0, next_at - time.monotonic()))

    def _visit(self, server: "_Server", now: float) -> float | None:
        """Do what is due for `server` and return when to come back, None if nobody watches."""
        if self._stopping or not self._emitter.is_watched(server.topic):
            server.rest()
            return None
        try:
            if server.due_at is None:
                server.due_at = now + server.prepare()
            if server.due_at <= now:
                self._publish(server)
                server.due_at = max(server.due_at + self._interval_s, now)
        except psutil.Error as error:
            self._log.warning("measure", "%s cannot be measured: %s", server.topic, error)
            server.due_at = now + self._interval_s
        return server.due_at

    def _publish(self, server: "_Server") -> None:
        self.samples_taken += 1
        info = server.sample()
        with self._lock:
            if self._servers.get(server.name) is not server:
                return  # Forgotten or replaced meanwhile.
            try:
                self._emitter.emit(server.topic, {"process_info": info})
            except EmitterError as error:
                self._log.warning("emit", "a value of %s is lost: %s", server.topic, error)


class _Server:
    """One server and where its next value is measured from."""

    def __init__(self, name: str, tree: ProcessTree) -> None:
        self.name = name
        self.topic = _topic(name)
        self.due_at: float | None = None
        """None until somebody watches."""
        self._tree = tree
        self._earlier: Reading | None = None

    def rest(self) -> None:
        """Nobody watches: measure anew when somebody does."""
        self.due_at = None
        self._earlier = None

    def prepare(self) -> float:
        """Take the reading to measure from; return after how many seconds to sample."""
        self._earlier = self._tree.read()
        return 0.0 if self._earlier is None else FIRST_SAMPLE_AFTER_S

    def sample(self) -> dict[str, object] | None:
        """Return the `process_info` since the previous reading."""
        later = self._tree.read()
        earlier, self._earlier = self._earlier, later
        if later is None or earlier is None:
            return None
        return process_info(self._tree.pid, earlier, later)


def _topic(server_name: str) -> str:
    return f"resource-monitor:{server_name}"
