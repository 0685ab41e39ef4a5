"""The output and Ctrl-C of a command line; `tests/e2e/test_console.py` runs real ones."""

import errno
import io
import json
import os
import signal
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from relay.shared.console import (
    Program,
    interrupt_once,
    is_unicode,
    json_line,
    take_interrupts,
)


@click.group("a-program", cls=Program)
def program() -> None:
    """A program."""


@program.command()
@click.argument("number", type=int)
def fail(number: int) -> None:
    """Fail with an error of the system."""
    raise OSError(number, os.strerror(number))


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    before = [(number, signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM)]
    yield
    for number, handler in before:
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("encoding", "expected"), [("utf-8", True), ("UTF8", True), ("cp1252", False), ("ascii", False)]
)
def test_which_streams_write_utf_8(encoding: str, expected: bool) -> None:
    assert is_unicode(io.TextIOWrapper(io.BytesIO(), encoding)) is expected


HOSTILE = "\x1b[2J \x7f \x9b2J \x85 \u2028 \u202e \u2066 \ud800 é 日 🎉"


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_json_prints_itself_and_does_nothing_else_to_a_terminal(encoding: str) -> None:
    line = json_line({HOSTILE: [HOSTILE]}, io.TextIOWrapper(io.BytesIO(), encoding))
    assert line.isprintable()
    assert json.loads(line) == {HOSTILE: [HOSTILE]}
    assert ("é 日 🎉" in line) == (encoding == "utf-8")
    line.encode(encoding)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EBADF])
def test_output_that_cannot_be_written_is_one_line(number: int) -> None:
    result = CliRunner().invoke(program, ["fail", str(number)])
    assert result.exit_code == 1
    assert result.output == f"a-program: cannot write the output: {os.strerror(number)}\n"


def test_other_errors_of_the_system_are_not_hidden() -> None:
    result = CliRunner().invoke(program, ["fail", str(errno.ENOENT)])
    assert isinstance(result.exception, FileNotFoundError)


def test_a_second_interrupt_ends_the_process_at_once() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    take_interrupts()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_another_handler_stays() -> None:
    def handler(*_: object) -> None: ...

    signal.signal(signal.SIGINT, handler)
    take_interrupts()
    assert signal.getsignal(signal.SIGINT) is handler
    with pytest.raises(KeyboardInterrupt):
        interrupt_once(signal.SIGINT, None)
