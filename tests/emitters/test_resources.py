"""A server is measured while somebody looks, and only then."""

import errno
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from emitters import resources as resources_module
from emitters.process_tree import ProcessTree, Reading, process_info
from emitters.resources import ResourceMonitor
from relay.wire.errors import InvalidTopic
from tests.emitters.core.test_failure import OddText
from tests.emitters.recording import RecordingEmitter
from tests.support.waiting import wait_for

INTERVAL_S = 0.02
TOPIC = "resource-monitor:survival"

BUSY = "while True: pass"
PARENT_OF_BUSY = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {BUSY!r}])
print(child.pid, flush=True)
sys.stdin.read()
child.kill()
"""


@pytest.fixture
def emitter() -> RecordingEmitter:
    return RecordingEmitter()


@pytest.fixture
def monitor(emitter: RecordingEmitter) -> Iterator[ResourceMonitor]:
    with ResourceMonitor(emitter, INTERVAL_S) as monitor:
        yield monitor


@pytest.fixture
def busy_tree() -> Iterator[subprocess.Popen[str]]:
    """A quiet process with a busy child."""
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT_OF_BUSY],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    yield process
    process.communicate("")


def infos(emitter: RecordingEmitter, topic: str = TOPIC) -> list[Any]:
    return [each.data["process_info"] for each in emitter.on(topic)]


@pytest.mark.process
def test_the_first_value_has_the_processes_real_use(
    emitter: RecordingEmitter, monitor: ResourceMonitor, busy_tree: subprocess.Popen[str]
) -> None:
    """The child's CPU time counts, and the first value is not the 0.0 of a first look."""
    monitor.watch("survival", busy_tree.pid)
    emitter.watch(TOPIC)
    emitter.wait(lambda: infos(emitter), "a value")
    first = infos(emitter)[0]
    assert list(first) == ["pid", "cpu_percent", "memory_mb", "uptime"]
    assert first["pid"] == busy_tree.pid
    assert first["cpu_percent"] > 1
    assert first["memory_mb"] > psutil.Process(busy_tree.pid).memory_info().rss / 2**20
    assert first["uptime"].startswith("0:00:")


def test_nothing_is_measured_and_nobody_polls_while_nobody_watches(
    emitter: RecordingEmitter, monitor: ResourceMonitor
) -> None:
    """The thread looks only when told that something changed."""
    monitor.watch("survival", os.getpid())
    wait_for(lambda: emitter.questions >= 1, "the thread looks")
    questions = emitter.questions
    threading.Event().wait(10 * INTERVAL_S)  # That nothing happens takes some time to see.
    assert emitter.questions <= questions + 1
    assert emitter.on(TOPIC) == []


def test_only_what_is_watched_is_measured_and_it_ends_with_the_last_watcher(
    emitter: RecordingEmitter, monitor: ResourceMonitor
) -> None:
    monitor.watch("survival", os.getpid())
    monitor.watch("lobby", os.getpid())
    emitter.watch(TOPIC)
    emitter.wait(lambda: len(infos(emitter)) >= 3, "three values")
    emitter.unwatch(TOPIC)
    emitter.watch("resource-monitor:lobby")
    emitter.wait(lambda: infos(emitter, "resource-monitor:lobby"), "a value of the other server")
    taken = len(infos(emitter))
    emitter.wait(lambda: len(infos(emitter, "resource-monitor:lobby")) >= 3, "three more values")
    assert len(infos(emitter)) == taken


@pytest.mark.process
def test_a_process_that_ends_is_told_as_gone_until_the_next_one(
    emitter: RecordingEmitter, monitor: ResourceMonitor
) -> None:
    process = subprocess.Popen([sys.executable, "-c", BUSY])
    monitor.watch("survival", process.pid)
    emitter.watch(TOPIC)
    emitter.wait(lambda: infos(emitter), "a value")
    process.kill()
    # Not waited for: a process that nobody has reaped yet is gone too.
    emitter.wait(lambda: infos(emitter)[-3:] == [None] * 3, "three times nothing")
    process.wait()
    monitor.watch("survival", os.getpid())
    emitter.wait(lambda: infos(emitter)[-1] is not None, "a value of the next process")
    assert infos(emitter)[-1]["pid"] == os.getpid()


@pytest.mark.process
def test_a_process_that_never_was(emitter: RecordingEmitter, monitor: ResourceMonitor) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    monitor.watch("survival", process.pid)
    emitter.watch(TOPIC)
    emitter.wait(lambda: infos(emitter) == [None], "nothing is told")


def test_another_process_with_the_same_id_is_not_mistaken(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the process had ended and its id had been given to a new one."""
    tree = ProcessTree(os.getpid())
    assert tree.read() is not None
    created_at = psutil.Process(os.getpid()).create_time()
    monkeypatch.setattr(psutil.Process, "_get_ident", lambda self: (self.pid, created_at + 5))
    assert tree.read() is None


def test_what_is_forgotten_is_not_told(emitter: RecordingEmitter, monitor: ResourceMonitor) -> None:
    for name in ("survival", "lobby"):
        monitor.watch(name, os.getpid())
    emitter.watch(TOPIC, "resource-monitor:lobby")
    emitter.wait(lambda: infos(emitter), "a value")
    monitor.forget("survival")
    taken = len(infos(emitter))
    others = len(infos(emitter, "resource-monitor:lobby"))
    emitter.wait(
        lambda: len(infos(emitter, "resource-monitor:lobby")) >= others + 3, "the other goes on"
    )
    assert len(infos(emitter)) == taken


def test_stop_ends_the_thread(emitter: RecordingEmitter) -> None:
    monitor = ResourceMonitor(emitter, INTERVAL_S)
    monitor.watch("survival", os.getpid())
    emitter.watch(TOPIC)
    emitter.wait(lambda: infos(emitter), "a value")
    monitor.stop()
    assert not [each for each in threading.enumerate() if each.name == "resource-monitor"]
    monitor.stop()


def test_a_full_outbox_does_not_end_it(emitter: RecordingEmitter, monitor: ResourceMonitor) -> None:
    emitter.full = True
    monitor.watch("survival", os.getpid())
    emitter.watch(TOPIC)
    emitter.wait(lambda: emitter.refused >= 2, "values are refused")
    emitter.full = False
    emitter.wait(lambda: infos(emitter), "values are told again")


@pytest.mark.parametrize(
    "error",
    [
        PermissionError("no"),
        FileNotFoundError("/proc"),
        ProcessLookupError("gone"),
        OSError(errno.EMFILE, "Too many open files"),
        ValueError("not a number"),
        IndexError("short line"),
        psutil.AccessDenied(1),
        MemoryError(),
        SystemExit(1),
        OddText(lambda: None),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("method", ["is_running", "status", "children", "create_time"])
def test_an_odd_error_is_logged_at_a_limited_rate_and_sampling_goes_on(
    emitter: RecordingEmitter,
    monitor: ResourceMonitor,
    error: BaseException,
    method: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    failures = threading.Semaphore(0)
    monkeypatch.setattr(resources_module, "FIRST_SAMPLE_AFTER_S", INTERVAL_S)

    def fails(*_: object, **__: object) -> Any:
        failures.release()
        raise error

    with monkeypatch.context() as broken:
        broken.setattr(psutil.Process, method, fails)
        monitor.watch("survival", os.getpid())
        emitter.watch(TOPIC)
        for _ in range(5):
            assert failures.acquire(timeout=10)
    emitter.wait(lambda: len(infos(emitter)) >= 2, "values are told again")
    assert None not in infos(emitter), "the process was never gone"
    lines = [each for each in caplog.records if "cannot be measured" in each.message]
    assert len(lines) == 1


def test_without_a_free_descriptor_sampling_waits(
    emitter: RecordingEmitter, monitor: ResourceMonitor, caplog: pytest.LogCaptureFixture
) -> None:
    """The server is made known, and measured first, while nothing can be opened."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        monitor.watch("survival", os.getpid())
        emitter.watch(TOPIC)
        wait_for(lambda: "Too many open files" in caplog.text, "the error is logged")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    emitter.wait(lambda: len(infos(emitter)) >= 2, "values are told")
    assert None not in infos(emitter)


@pytest.mark.parametrize("error", [RuntimeError("no"), SystemExit(1)])
def test_an_emitter_that_raises_does_not_end_it(
    emitter: RecordingEmitter,
    monitor: ResourceMonitor,
    error: BaseException,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    failures = threading.Semaphore(0)

    def fails(*_: object) -> Any:
        failures.release()
        raise error

    for method in ("is_watched", "emit"):
        with monkeypatch.context() as broken:
            broken.setattr(emitter, method, fails)
            monitor.watch("survival", os.getpid())
            emitter.watch(TOPIC)
            for _ in range(2):
                assert failures.acquire(timeout=10)
    emitter.wait(lambda: infos(emitter), "values are told")


@pytest.mark.parametrize(
    ("pid", "error", "text"),
    [
        (None, TypeError, "pid must be an int, not NoneType"),
        ("1", TypeError, "pid must be an int, not str"),
        (1.0, TypeError, "pid must be an int, not float"),
        (True, TypeError, "pid must be an int, not bool"),
        (0, ValueError, "pid must be from 1"),
        (-1, ValueError, "pid must be from 1"),
        (2**31, ValueError, "pid must be from 1"),
        (2**70, ValueError, "pid must be from 1"),
    ],
)
def test_a_wrong_process_id_is_refused(
    monitor: ResourceMonitor, pid: Any, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        monitor.watch("survival", pid)


@pytest.mark.parametrize(
    ("interval_s", "error"),
    [
        (0, ValueError),
        (-1, ValueError),
        (float("nan"), ValueError),
        (float("inf"), ValueError),
        (1e300, ValueError),
        ("1", TypeError),
        (None, TypeError),
    ],
)
def test_a_wrong_interval_is_refused(
    emitter: RecordingEmitter, interval_s: Any, error: type[Exception]
) -> None:
    with pytest.raises(error, match="interval_s must be"):
        ResourceMonitor(emitter, interval_s)


def test_a_wrong_name_is_refused(monitor: ResourceMonitor) -> None:
    with pytest.raises(InvalidTopic):
        monitor.watch("", 1)
    with pytest.raises(TypeError, match="server_name must be text, not NoneType"):
        monitor.watch(None, 1)  # type: ignore[arg-type]


def test_the_number_of_servers_is_bounded(
    monitor: ResourceMonitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resources_module, "MAX_SERVERS", 2)
    for name in ("survival", "lobby", "survival"):
        monitor.watch(name, os.getpid())
    with pytest.raises(ValueError, match="at most 2 servers"):
        monitor.watch("creative", os.getpid())
    monitor.forget("lobby")
    monitor.watch("creative", os.getpid())


def test_the_arithmetic() -> None:
    earlier = Reading(at=10.0, cpu_s=1.0, memory_bytes=0, uptime_s=0)
    later = Reading(at=12.0, cpu_s=2.5, memory_bytes=3 * 2**19, uptime_s=602.9)
    assert process_info(7, earlier, later) == {
        "pid": 7,
        "cpu_percent": 75.0,
        "memory_mb": 1.5,
        "uptime": "0:10:02",
    }
    assert process_info(7, later, later._replace(at=13.0, cpu_s=0.0))["cpu_percent"] == 0.0
