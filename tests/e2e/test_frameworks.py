"""An emitter of a fixed name in the servers and workers that people use, each the real one.

Every process emits 1,000 events, all of them arrive in order, and no emitter says anything.
"""

import contextlib
import signal
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path

import pytest

from tests.emitters.relay_control import journaled_by_process, read_journal
from tests.support.cluster import Cluster, free_ports
from tests.support.processes import ROOT, ManagedProcess, python
from tests.support.waiting import wait_for

EACH = 1000
EMITTING = """
import os
from emitters import Emitter
emitter = Emitter(name="web")

def emit_all():
    for n in range(1, 1001):
        emitter.emit("event:x", {"by": os.getpid(), "n": n})
"""
DJANGO = (
    EMITTING
    + """
import sys
from django.conf import settings
from django.core.management import execute_from_command_line
from django.http import HttpResponse
from django.urls import path

settings.configure(DEBUG=True, ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="x")

def view(request):
    emit_all()
    return HttpResponse("done")

urlpatterns = [path("emit", view)]
if __name__ == "__main__":
    execute_from_command_line(["manage.py", "runserver", sys.argv[1]])
"""
)
ASGI = (
    EMITTING
    + """
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        emit_all()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
"""
)
WSGI = (
    EMITTING
    + """
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
"""
)
GUNICORN = """
def post_worker_init(worker):
    from wsgi import emit_all
    emit_all()
"""
CELERY = (
    EMITTING
    + """
from celery import Celery
from celery.signals import worker_process_init
app = Celery("work", broker="memory://")
app.conf.worker_hijack_root_logger = False

@worker_process_init.connect
def begin(**_):
    emit_all()
"""
)


class Program:
    """A program that people run, in a directory of its own, with `module` beside it."""

    def __init__(self, cluster: Cluster, directory: Path) -> None:
        self._cluster = cluster
        self.directory = directory

    def write(self, name: str, text: str) -> None:
        (self.directory / name).write_text(text)

    def start(self, *command: str) -> ManagedProcess:
        path = f"{self.directory}:{ROOT}"
        return self._cluster.start("program", python("-m", *command), PYTHONPATH=path)


@pytest.fixture
def program(cluster: Cluster, tmp_path: Path) -> Program:
    cluster.start_relay()
    directory = tmp_path / "app"
    directory.mkdir()
    return Program(cluster, directory)


def wait_journaled(cluster: Cluster, program: ManagedProcess, processes: int) -> Counter[str]:
    """Wait for the events of so many processes, and return how many each has."""

    def is_all_there() -> bool:
        assert program.returncode is None, program.output()
        return len(read_journal(cluster.control)) >= processes * EACH

    try:
        wait_for(is_all_there, "all is journaled", 60)
    except AssertionError as error:
        found = journaled_by_process(cluster.control)
        raise AssertionError(f"{error}: {found}\n{program.output()}") from None
    return journaled_by_process(cluster.control)


def end_quietly(process: ManagedProcess, number: int = signal.SIGTERM) -> None:
    """End `process`, of which no emitter has said a word."""
    process.signal(number)
    process.wait_ended(30)
    assert "emitter" not in process.output().lower(), process.output()
    assert "Traceback" not in process.output()


def test_djangos_server_with_its_reloader(cluster: Cluster, program: Program) -> None:
    """The reloader and the server are two processes with one emitter each."""
    program.write("site_of_ours.py", DJANGO)
    [port] = free_ports(1)
    process = program.start("site_of_ours", f"127.0.0.1:{port}")

    def get() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/emit", timeout=20) as reply:
                return bool(reply.read() == b"done")
        except urllib.error.URLError as error:
            if isinstance(error.reason, ConnectionRefusedError):
                return False
            raise

    wait_for(get, "the view answers", 60)
    assert list(wait_journaled(cluster, process, 1).values()) == [EACH]
    end_quietly(process)


def change_until_reloaded(program: Program, process: ManagedProcess) -> None:
    """Change the file again if uvicorn, which polls, first saw it after the change."""
    for number in range(5):
        program.write("asgi.py", f"{ASGI}\n# change {number}\n")
        with contextlib.suppress(AssertionError):
            process.wait_for_output("Reloading...", 10)
            return
    raise AssertionError(process.output())


@pytest.mark.parametrize(
    ("options", "processes"), [(["--reload"], 1), (["--workers", "2"], 2)], ids=["reload", "two"]
)
def test_uvicorn(cluster: Cluster, program: Program, options: list[str], processes: int) -> None:
    program.write("asgi.py", ASGI)
    [port] = free_ports(1)
    where = ["--app-dir", str(program.directory), "--port", str(port)]
    if "--reload" in options:
        where += ["--reload-dir", str(program.directory)]
    process = program.start("uvicorn", "asgi:app", *where, *options)
    assert list(wait_journaled(cluster, process, processes).values()) == [EACH] * processes
    if "--reload" in options:
        # The next process of the same name, as after each change of a file.
        change_until_reloaded(program, process)
        assert list(wait_journaled(cluster, process, 2).values()) == [EACH] * 2
    end_quietly(process)


@pytest.mark.parametrize("kind", ["sync", "gthread", "gevent"])
def test_gunicorn_that_loads_the_application_before_it_forks(
    cluster: Cluster, program: Program, kind: str
) -> None:
    program.write("wsgi.py", WSGI)
    program.write("hooks.py", GUNICORN)
    [port] = free_ports(1)
    process = program.start(
        "gunicorn", "wsgi:app", "--preload", "--workers=2", f"--worker-class={kind}",
        f"--bind=127.0.0.1:{port}", f"--chdir={program.directory}",
        f"--config={program.directory}/hooks.py", "--no-control-socket",
    )  # fmt: skip
    assert list(wait_journaled(cluster, process, 2).values()) == [EACH] * 2
    end_quietly(process)


@pytest.mark.parametrize("pool", ["prefork"])
def test_celerys_workers(cluster: Cluster, program: Program, pool: str) -> None:
    program.write("work.py", CELERY)
    process = program.start(
        "celery", "-A", "work", "worker", f"--pool={pool}", "--concurrency=2",
        "--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel=ERROR",
    )  # fmt: skip
    assert list(wait_journaled(cluster, process, 2).values()) == [EACH] * 2
    end_quietly(process)


@pytest.mark.parametrize("has_relay", [True, False])
def test_ctrl_c_ends_a_script_whose_events_still_arrive(cluster: Cluster, has_relay: bool) -> None:
    """A second Ctrl-C ends a script that waits for a relay."""
    script = EMITTING + "import time\nemit_all()\nprint('emitted', flush=True)\ntime.sleep(60)\n"
    if has_relay:
        cluster.start_relay()
    process = cluster.start("script", python("-c", script))
    process.wait_for_output("emitted")
    process.signal(signal.SIGINT)
    if has_relay:
        process.wait_ended(30)
        assert list(journaled_by_process(cluster.control).values()) == [EACH]
    else:
        process.wait_for_output("KeyboardInterrupt")
        process.signal(signal.SIGINT)
        process.wait_ended(30)
    assert process.returncode in (-signal.SIGINT, 128 + signal.SIGINT)


def test_the_end_of_the_interpreter_sends_what_was_emitted_last(cluster: Cluster) -> None:
    """Also what `atexit` and a thread that is still at work emit; nothing hangs."""
    script = EMITTING + (
        "import atexit, sys, threading\n"
        "begun = threading.Event()\n"
        "def go_on():\n"
        "    while True:\n"
        "        begun.set()\n"
        "        emitter.emit('event:other', {'by': 'thread', 'n': 1})\n"
        "        threading.Event().wait(60)\n"
        "threading.Thread(target=go_on, daemon=True).start()\n"
        "begun.wait()\n"
        "atexit.register(emit_all)\n"
        "sys.exit(3)\n"
    )
    cluster.start_relay()
    process = cluster.start("script", python("-c", script))
    process.wait_ended(30)
    assert (process.returncode, process.output()) == (3, "")
    counts = journaled_by_process(cluster.control)
    assert counts[str(process.pid)] == EACH
