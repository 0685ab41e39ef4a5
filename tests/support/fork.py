"""A fork of a process that has the modules already becomes a program."""

import atexit
import gc
import io
import multiprocessing
import os
import runpy
import signal
import socket
import sys
import threading
import traceback
import types
from collections.abc import Mapping, Sequence
from multiprocessing import forkserver, process
from typing import Any

from relay.shared.program import ALLOCATOR

FLAGS = ("-u", "-m", "-c")
"""Options of the interpreter that a fork knows too; `-u` comes first."""
FAILED = 1
_process: Any = process
_runpy: Any = runpy
_threading: Any = threading
_main: Any = type(process.current_process())
NOT_WRITTEN = 120
"""Python's exit code if the standard output does not take what was printed."""


def run(command: Sequence[str], env: Mapping[str, str], cwd: str, streams: Sequence[int]) -> None:
    """Be the program `command` from here on, and end as the interpreter does."""
    os.setsid()
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    # A fork cannot begin again.
    os.environ.setdefault(ALLOCATOR, "default")
    _open(streams, is_unbuffered=command[1] == "-u")
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # An edge with a parent in this sense is a worker: it leaves Ctrl-C and its own end to it.
    _process._parent_process = None
    _process._current_process = _main()
    multiprocessing.set_start_method(None, force=True)
    if env.get("EDGE_WORKERS", "1") != "1":
        _fork_workers()
    _end(_run(list(command)))


def _open(streams: Sequence[int], *, is_unbuffered: bool) -> None:
    """Have `streams` as the standard input, output and error."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    # The locale and the variables of Python's are the same here.
    here: Any = sys.stdout
    locale = here.encoding, here.errors
    is_unbuffered |= here.write_through
    sys.stdin = _opened(0, "stdin", *locale)
    sys.stdout = _opened(1, "stdout", *locale, is_unbuffered=is_unbuffered)
    sys.stderr = _opened(2, "stderr", locale[0], "backslashreplace", is_unbuffered=is_unbuffered)


def _opened(
    number: int, name: str, encoding: str, errors: str, *, is_unbuffered: bool = False
) -> io.TextIOWrapper:
    mode = "r" if name == "stdin" else "w"
    binary: Any = io.FileIO(number, mode, closefd=False)
    binary.name = f"<{name}>"
    is_terminal = binary.isatty()
    if mode == "r":
        binary = io.BufferedReader(binary)
    elif not is_unbuffered:
        binary = io.BufferedWriter(binary)
    stream: Any = io.TextIOWrapper(
        binary,
        encoding,
        errors,
        line_buffering=name == "stderr" or is_terminal,
        write_through=is_unbuffered,
    )
    stream.mode = mode
    wrapper: io.TextIOWrapper = stream
    return wrapper


def _run(command: list[str]) -> int:
    """Run the program; return its exit code."""
    sys.orig_argv = command
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    flag, *rest = command[2:] if command[1] == "-u" else command[1:]
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    # What else is there was put there by the process that runs the tests.
    own = [path for path in sys.path if path.startswith((sys.prefix, sys.base_prefix))]
    sys.path[:] = [os.path.abspath(path) for path in paths if path] + own
    try:
        if flag == "-m":
            sys.path.insert(0, os.getcwd())
            sys.argv = ["-m", *rest[1:]]
            _runpy._run_module_as_main(rest[0])
        elif flag == "-c":
            sys.path.insert(0, "")
            sys.argv = ["-c", *rest[1:]]
            exec(compile(rest[0], "<string>", "exec"), main.__dict__)
        else:
            sys.path.insert(0, os.path.dirname(os.path.abspath(flag)))
            sys.argv = [flag, *rest]
            with open(flag, encoding="utf-8") as source:
                main.__file__ = flag
                exec(compile(source.read(), flag, "exec"), main.__dict__)
    except SystemExit as error:
        return _exit_code(error.code)
    except BaseException as error:  # noqa: BLE001 - as the interpreter does
        # Without the frame of this function.
        here = error.__traceback__ and error.__traceback__.tb_next
        sys.excepthook(type(error), error.with_traceback(here), here)
        return -signal.SIGINT if isinstance(error, KeyboardInterrupt) else FAILED
    return 0


def _exit_code(code: object) -> int:
    if code is None:
        return 0
    if isinstance(code, int):
        return code
    print(code, file=sys.stderr)
    return FAILED


def _end(code: int) -> None:
    """End with `code`, or by the signal `-code`."""
    _threading._shutdown()
    atexit._run_exitfuncs()
    if threading.active_count() == 1:
        # The interpreter stops daemon threads first. Sockets of libzmq send the rest when they go.
        sys.modules["__main__"].__dict__.clear()
        gc.collect()
    try:
        sys.stdout.flush()
    except (OSError, ValueError) as error:
        print(f"Exception ignored in: {sys.stdout!r}", file=sys.stderr)
        print(*traceback.format_exception_only(error), file=sys.stderr, end="")
        code = NOT_WRITTEN
    sys.stderr.flush()
    if code == -signal.SIGINT:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    os._exit(code & 0xFF)


def _fork_workers() -> None:
    """Have the workers of uvicorn begin in forks of this process as it is now.

    uvicorn begins each with a new interpreter, which imports everything anew. As there, they are
    in the session of their supervisor, have none of its state, and are kept from Ctrl-C.
    """
    import uvicorn._subprocess

    server: Any = forkserver._forkserver
    listener = socket.socket(socket.AF_UNIX)
    # Linux gives it a free name in its abstract namespace.
    listener.bind("")
    listener.listen()
    alive_r, alive_w = os.pipe()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    server._forkserver_pid = os.fork()
    if server._forkserver_pid == 0:
        os.close(alive_w)
        forkserver.main(listener.detach(), alive_r, [])
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    os.close(alive_r)
    server._forkserver_address, server._forkserver_alive_fd = listener.getsockname(), alive_w
    listener.close()
    uvicorn._subprocess.spawn = multiprocessing.get_context("forkserver")  # type: ignore[assignment]
