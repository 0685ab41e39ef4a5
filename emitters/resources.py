"""`ResourceMonitor`: CPU and memory of servers, measured only while somebody watches.

    monitor = ResourceMonitor(emitter)
    monitor.watch("survival", process.pid)

It owns one thread. The use of a process is read in `emitters.process_tree`.
"""

import logging
import math
import threading
import time
from typing import Self

from emitters.core.ports import EmitsWatched
from emitters.core.readable import carry_text, type_name
from emitters.core.unsent_values import MAX_LIVE_TOPICS
from emitters.forks import in_forked_child
from emitters.process_tree import ProcessTree, Reading, process_info
from emitters.shielded import shielded
from relay.shared.logs import LimitedLog
from relay.wire.topics import parse_topic

FIRST_SAMPLE_AFTER_S = 0.2
"""CPU use is a difference between two readings; the first sample waits this long for the second."""

MAX_SERVERS = MAX_LIVE_TOPICS
"""As many live topics as an emitter holds values of."""

STOP_TIMEOUT_S = 5.0
MAX_INTERVAL_S = 86400.0
MAX_PID = 2**31 - 1

logger = logging.getLogger(__name__)


class ResourceMonitor:
    """Emits `resource-monitor:{server_name}` every `interval_s` seconds while it is watched.

    The data is `{"process_info": {"pid", "cpu_percent", "memory_mb", "uptime"}}` for the process
    with all its descendants, or `{"process_info": None}` when the process is gone. While nobody
    watches, nothing is read and the thread sleeps. A reading that fails, for whatever reason, is
    logged, and tried again after `interval_s`. In a forked process it begins without servers: those
    of the parent are measured by the parent.
    """

    def __init__(self, emitter: EmitsWatched, interval_s: float = 1.0) -> None:
        if not isinstance(interval_s, int | float):
            raise TypeError(f"interval_s must be a number, not {type_name(interval_s)}")
        if not 0 < interval_s <= MAX_INTERVAL_S:
            raise ValueError(
                f"interval_s must be positive and at most {MAX_INTERVAL_S:g}, not {interval_s}"
            )
        self._emitter = emitter
        self._interval_s = interval_s
        self._log = LimitedLog(logger)
        self._stopping = False
        self._begin()
        emitter.on_watch_change(lambda: self._wake.set())
        in_forked_child(self, ResourceMonitor._begin)

    def _begin(self) -> None:
        """Begin without servers and without a thread."""
        self._lock = threading.Lock()
        """Guards the fields below; held while a value is emitted, so that none follows `forget`."""
        self._servers: dict[str, _Server] = {}
        self._thread: threading.Thread | None = None
        """None before the first server."""
        self._wake = threading.Event()

    def watch(self, server_name: str, pid: int) -> None:
        """Emit the use of process `pid` as that of `server_name`, in place of an earlier process.

        Raises `InvalidTopic` for a name that no topic can have; `TypeError` and `ValueError` for an
        argument that is no name or no process id, and for more than 10,000 servers; `RuntimeError`
        if no thread can be started.
        """
        if not isinstance(server_name, str):
            raise TypeError(f"server_name must be text, not {type_name(server_name)}")
        parse_topic(_topic(server_name))
        shielded(self._add, _Server(server_name, ProcessTree(_checked_pid(pid))))

    def _add(self, server: "_Server") -> None:
        server_name = server.name
        with self._lock:
            if len(self._servers) >= MAX_SERVERS and server_name not in self._servers:
                raise ValueError(f"at most {MAX_SERVERS} servers are monitored")
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="resource-monitor", daemon=True)
                thread.start()
                self._thread = thread
            self._servers[server_name] = server
        self._wake.set()

    def forget(self, server_name: str) -> None:
        """Emit no more values of `server_name`. The relay remembers its last one."""
        shielded(self._remove, server_name)

    def _remove(self, server_name: str) -> None:
        with self._lock:
            self._servers.pop(server_name, None)

    def stop(self) -> None:
        """End the thread; nothing is emitted afterwards."""
        shielded(self._end)

    def _end(self) -> None:
        self._stopping = True
        self._wake.set()
        if self._thread not in (None, threading.current_thread()):
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
            next_at = min(
                (self._visit(each, time.monotonic()) for each in servers), default=math.inf
            )
            wait_s = max(0.0, next_at - time.monotonic())
            self._wake.wait(None if math.isinf(wait_s) else wait_s)

    def _visit(self, server: "_Server", now: float) -> float:
        """Sample `server` if it is due; return its next time, infinity if nobody watches."""
        try:
            if self._stopping or not self._emitter.is_watched(server.topic):
                server.rest()
                return math.inf
            if not server.is_prepared and not now < server.due_at < math.inf:
                server.due_at = now + server.prepare()
            if server.due_at <= now:
                self._publish(server)
                server.due_at = max(server.due_at + self._interval_s, now)
        except BaseException as error:  # noqa: BLE001 - one error must not end the thread
            text = carry_text(error)
            self._log.warning("measure", "%s cannot be measured: %s", server.topic, text)
            server.rest(until=now + self._interval_s)
        return server.due_at

    def _publish(self, server: "_Server") -> None:
        info = server.sample()
        with self._lock:
            if self._servers.get(server.name) is not server:
                return  # Forgotten or replaced while it was measured.
            try:
                self._emitter.emit(server.topic, {"process_info": info})
            except BaseException as error:  # noqa: BLE001 - the next value may be taken again
                text = carry_text(error)
                self._log.warning("emit", "a value of %s is lost: %s", server.topic, text)


class _Server:
    """One server and the reading from which its next value is measured."""

    def __init__(self, name: str, tree: ProcessTree) -> None:
        self.name = name
        self.topic = _topic(name)
        self.due_at = math.inf
        """Monotonic seconds of the next sample; infinite while nobody watches."""
        self._tree = tree
        self._earlier: Reading | None = None
        self.is_prepared = False
        """Whether there is a reading to measure from, or the process is known to be gone."""

    def rest(self, until: float = math.inf) -> None:
        """Forget the last reading, which would be too old `until` the next sample."""
        self.due_at = until
        self.is_prepared = False

    def prepare(self) -> float:
        """Take the reading to measure from; return the seconds until the first sample."""
        self._earlier = self._tree.read()
        self.is_prepared = True
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


def _checked_pid(pid: object) -> int:
    # Not `psutil`'s own meaning of None, which is the calling process.
    if not isinstance(pid, int) or isinstance(pid, bool):
        raise TypeError(f"pid must be an int, not {type_name(pid)}")
    if not 0 < pid <= MAX_PID:
        raise ValueError(f"pid must be from 1 to {MAX_PID}, not {pid}")
    return pid
