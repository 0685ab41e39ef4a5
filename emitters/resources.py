"""`ResourceMonitor`: CPU and memory of servers, measured only while somebody watches.

    monitor = ResourceMonitor(emitter)
    monitor.watch("survival", process.pid)

It owns one thread. The use of a process is read in `emitters.process_tree`.
"""

import logging
import threading
import time
from typing import Self

import psutil

from emitters.core.ports import EmitsWatched
from emitters.core.unsent_values import MAX_LIVE_TOPICS
from emitters.errors import EmitterError
from emitters.process_tree import ProcessTree, Reading, process_info
from relay.shared.logs import LimitedLog
from relay.wire.topics import parse_topic

FIRST_SAMPLE_AFTER_S = 0.2
"""CPU use is a difference between two readings; the first sample waits this long for the second."""

MAX_SERVERS = MAX_LIVE_TOPICS
"""As many live topics as an emitter holds values of."""

STOP_TIMEOUT_S = 5.0

logger = logging.getLogger(__name__)


class ResourceMonitor:
    """Emits `resource-monitor:{server_name}` every `interval_s` seconds while it is watched.

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
        """Guards the servers; held while a value is emitted, so that none follows `forget`."""
        self._servers: dict[str, _Server] = {}
        self._log = LimitedLog(logger)
        self._stopping = False
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="resource-monitor", daemon=True)
        self._thread.start()
        emitter.on_watch_change(self._wake.set)

    def watch(self, server_name: str, pid: int) -> None:
        """Emit the use of process `pid` as that of `server_name`, in place of an earlier process.

        Raises `InvalidTopic` for a name that no topic can have, and `ValueError` for more than
        10,000 servers.
        """
        parse_topic(_topic(server_name))
        server = _Server(server_name, ProcessTree(pid))
        with self._lock:
            if len(self._servers) >= MAX_SERVERS and server_name not in self._servers:
                raise ValueError(f"at most {MAX_SERVERS} servers are monitored")
            self._servers[server_name] = server
        self._wake.set()

    def forget(self, server_name: str) -> None:
        """Emit no more values of `server_name`."""
        with self._lock:
            self._servers.pop(server_name, None)

    def stop(self) -> None:
        """End the thread; nothing is emitted afterwards."""
        self._stopping = True
        self._wake.set()
        if threading.current_thread() is not self._thread:
            self._thread.join(STOP_TIMEOUT_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self) -> None:
        while not self._stopping:
            # Cleared before the visits: a change during them must not be missed.
            self._wake.clear()
            with self._lock:
                servers = list(self._servers.values())
            due_at = [self._visit(server, time.monotonic()) for server in servers]
            next_at = min((at for at in due_at if at is not None), default=None)
            self._wake.wait(None if next_at is None else max(0.0, next_at - time.monotonic()))

    def _visit(self, server: "_Server", now: float) -> float | None:
        """Sample `server` if it is due; return its next time, None if nobody watches."""
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
        info = server.sample()
        with self._lock:
            if self._servers.get(server.name) is not server:
                return  # Forgotten or replaced while it was measured.
            try:
                self._emitter.emit(server.topic, {"process_info": info})
            except EmitterError as error:
                self._log.warning("emit", "a value of %s is lost: %s", server.topic, error)


class _Server:
    """One server and the reading from which its next value is measured."""

    def __init__(self, name: str, tree: ProcessTree) -> None:
        self.name = name
        self.topic = _topic(name)
        self.due_at: float | None = None
        """Monotonic seconds of the next sample; None while nobody watches."""
        self._tree = tree
        self._earlier: Reading | None = None

    def rest(self) -> None:
        """Forget the last reading: nobody watches, and the next watcher needs a fresh one."""
        self.due_at = None
        self._earlier = None

    def prepare(self) -> float:
        """Take the reading to measure from; return the seconds until the first sample."""
        self._earlier = self._tree.read()
        return 0.0 if self._earlier is None else FIRST_SAMPLE_AFTER_S

    def sample(self) -> dict[str, object] | None:
        """Return the `process_info` since the previous reading, None for a process that is gone."""
        later = self._tree.read()
        earlier, self._earlier = self._earlier, later
        if later is None or earlier is None:
            return None
        return process_info(self._tree.pid, earlier, later)


def _topic(server_name: str) -> str:
    return f"resource-monitor:{server_name}"
