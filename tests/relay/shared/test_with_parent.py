"""A program that ends with its starter."""

import subprocess

import pytest

from tests.support.processes import ROOT, python

SCRIPT = """
import signal, sys
from relay.shared.with_parent import end_with_parent
end_with_parent()
print("started", flush=True)
signal.pause()
"""

pytestmark = pytest.mark.process


@pytest.mark.parametrize("words", [b"", b"words\n"])
def test_it_ends_when_its_standard_input_does(words: bytes) -> None:
    with subprocess.Popen(
        python("-c", SCRIPT), cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == b"started\n"
        process.stdin.write(words)
        process.stdin.flush()
        assert process.poll() is None
        process.stdin.close()
        assert process.wait(20) == -15


def test_it_ends_when_another_holds_its_standard_input_and_its_parent_is_gone() -> None:
    """The parent is a shell that starts it and ends."""
    line = f'{python()[0]} -c "$SCRIPT" <&3 & read nothing'
    with subprocess.Popen(
        ["bash", "-c", f"exec 3<&0; SCRIPT=$1; export SCRIPT; {line}", "sh", SCRIPT],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as shell:
        assert shell.stdout is not None
        assert shell.stdout.readline() == b"started\n"
        shell.kill()
        # Our end of the pipe stays open; the output ends with the last process that has it.
        assert shell.stdout.read() == b""
