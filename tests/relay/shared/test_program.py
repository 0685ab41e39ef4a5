"""The first moments of a program, each in a process of its own."""

import os
import signal
import subprocess

import pytest

from relay.shared.program import ALLOCATOR
from tests.support.processes import ROOT, python

BEGIN = "import os, signal, sys; from relay.shared import program; program.begin(serves={serves});"


def run(code: str, *, redirection: str = "", serves: bool = True) -> tuple[int, str]:
    """Return exit code and standard output of `code` behind `begin`."""
    command = python("-X", "utf8=0", "-c", BEGIN.format(serves=serves) + code)
    ended = subprocess.run(
        ["sh", "-c", f'LC_ALL=C PYTHONCOERCECLOCALE=0 exec "$@" {redirection}', "sh", *command],
        cwd=ROOT,
        capture_output=True,
        check=False,
        timeout=60,
    )
    return ended.returncode, ended.stdout.decode()


@pytest.mark.parametrize("closed", ["<&-", "2>&-", "<&- 2>&-"])
def test_a_file_does_not_get_the_number_of_a_closed_stream(closed: str) -> None:
    code, output = run(
        "print(os.open('/dev/zero', os.O_RDONLY) > 2, sys.stdin.read(), file=sys.stdout);"
        "print('nowhere', file=sys.stderr)",
        redirection=closed,
    )
    assert (code, output.split()) == (0, ["True"])


def test_all_streams_may_be_closed() -> None:
    code, _ = run("print(1); print(2, file=sys.stderr)", redirection="<&- >&- 2>&-")
    assert code == 0


def test_text_that_the_terminal_cannot_show_is_escaped() -> None:
    assert run(r"print('Z\xfcrich \U0001f600')") == (0, "Z\\xfcrich \\U0001f600\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("serves", [True, False])
def test_a_signal_ends_the_program(number: signal.Signals, serves: bool) -> None:
    code, output = run(f"os.kill(os.getpid(), {int(number)}); print('later')", serves=serves)
    assert (code, output) == (0 if serves else 128 + number, "")


@pytest.mark.skipif("CS_GNU_LIBC_VERSION" not in os.confstr_names, reason="needs GNU's C library")
@pytest.mark.parametrize(
    ("given", "flags", "is_malloc"),
    [(None, (), True), ("pymalloc", (), False), (None, ("-E",), False)],
)
def test_a_program_begins_again_with_the_allocator_that_gives_memory_back(
    given: str | None, flags: tuple[str, ...], is_malloc: bool
) -> None:
    env = {name: value for name, value in os.environ.items() if name != ALLOCATOR}
    env |= {} if given is None else {ALLOCATOR: given}
    # Python's own allocator alone counts its blocks.
    code = (
        "import os, sys; from relay.shared import program; program.begin_again_with_malloc();"
        "print(sys.getallocatedblocks() == 0, os.getpid(), *sys.argv[1:])"
    )
    command = python(*flags, "-c", code, "a b", "c")
    with subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True) as ran:
        output, _ = ran.communicate(timeout=60)
    assert output == f"{is_malloc} {ran.pid} a b c\n"


def test_an_ignored_signal_stays_ignored() -> None:
    """As with `nohup`, or in the background of a shell."""
    code = (
        "import os, signal; signal.signal(signal.SIGINT, signal.SIG_IGN);"
        "from relay.shared import program; program.begin(serves=False); program.begin_command();"
        "os.kill(os.getpid(), signal.SIGINT); print('goes on')"
    )
    ended = subprocess.run(python("-c", code), cwd=ROOT, capture_output=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, b"goes on\n")


def test_a_command_is_interrupted_again_once_it_is_loaded() -> None:
    code, output = run(
        "program.begin_command()\ntry: os.kill(os.getpid(), signal.SIGINT)\n"
        "except KeyboardInterrupt: print('interrupted')",
        serves=False,
    )
    assert (code, output) == (0, "interrupted\n")


def test_signals_after_the_end_change_nothing() -> None:
    code, output = run("program.end(); os.kill(os.getpid(), signal.SIGTERM); print('ends')")
    assert (code, output) == (0, "ends\n")


def test_a_signal_that_comes_with_the_end_leaves_no_traceback() -> None:
    """Whichever thread takes it."""
    code = """
import subprocess, threading
threading.Thread(target=threading.Event().wait, daemon=True).start()
signals = f"import os, sys\\nfor _ in range(100_000): os.kill({os.getpid()}, {signal.SIGINT:d})"
sender = subprocess.Popen([sys.executable, "-c", signals])
while sender.poll() is None:
    signal.signal(signal.SIGINT, lambda *_: None)
    program.end()
print("ends")
"""
    assert run(f"exec({code!r})", redirection="2>&1") == (0, "ends\n")


def test_other_errors_at_the_end_are_told() -> None:
    broken = "type('Broken', (), {'__del__': lambda self: 1 / 0})()"
    code, output = run(f"program.end(); {broken}", redirection="2>&1")
    assert code == 0
    assert "ZeroDivisionError" in output
