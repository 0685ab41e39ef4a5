"""Wrong numbers and texts on the command lines of all programs are refused by their names."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from edge.cli import main as edge
from emitters.cli import main as emitters
from relay.cli import main as relay
from relay.shared.console import Program
from tests.support.cluster import free_ports

Command = tuple[Program, list[str], list[str]]
"""A program, its arguments up to the option, and those behind it."""

SECONDS: dict[str, Command] = {
    "stats --timeout": (relay, ["stats", "--timeout"], []),
    "publish --timeout": (emitters, ["event:x", "{}", "--timeout"], []),
    "lines --timeout": (emitters, ["publish", "--timeout"], []),
    "tail --timeout": (emitters, ["tail", "--count", "1", "--timeout"], []),
    "task --timeout": (emitters, ["task", "--user", "alice", "--timeout"], ["--", "true"]),
}
COUNTS: dict[str, Command] = {
    "journal tail -n": (relay, ["journal", "tail", "-n"], []),
    "tail --count": (emitters, ["tail", "--count"], []),
    "token --ttl": (edge, ["token", "alice", "--ttl"], []),
}
NO_NUMBERS = ["nan", "inf", "-inf", "-1", "1e400", "", "x", "0x1", "\udcff"]


@pytest.fixture(autouse=True)
def _own_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Addresses at which nobody listens, and the handlers of signals back in the end."""
    for name in ("EDGE_DATA_DIR", "RELAY_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    handlers = [(number, signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM)]
    for name, port in zip(("INGRESS", "CONTROL", "EGRESS"), free_ports(3), strict=True):
        monkeypatch.setenv(f"EMITTER_RELAY_{name}", f"tcp://127.0.0.1:{port}")
        monkeypatch.setenv(f"RELAY_{name}", f"tcp://127.0.0.1:{port}")
    yield
    for number, handler in handlers:
        signal.signal(number, handler)


def run(program: Program, arguments: list[str]) -> Result:
    result = CliRunner().invoke(program, arguments, standalone_mode=True)
    # A traceback: everything else ends by `SystemExit`.
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.mark.parametrize("value", [*NO_NUMBERS, "9" * 400])
@pytest.mark.parametrize("name", SECONDS)
def test_no_number_of_seconds(name: str, value: str) -> None:
    refused(SECONDS[name], value)


@pytest.mark.parametrize("value", NO_NUMBERS)
@pytest.mark.parametrize("name", COUNTS)
def test_no_count(name: str, value: str) -> None:
    refused(COUNTS[name], value)


def test_a_token_ends_some_day() -> None:
    refused(COUNTS["token --ttl"], "9" * 400)
    refused(COUNTS["token --ttl"], "0")
    refused(COUNTS["tail --count"], "0")


def refused(command: Command, value: str) -> None:
    program, before, after = command
    result = run(program, [*before, value, *after])
    assert result.exit_code == 2, result.output
    assert before[-1] in result.output.splitlines()[-1]


@pytest.mark.parametrize("name", SECONDS)
def test_zero_seconds_are_a_number(name: str) -> None:
    program, before, after = SECONDS[name]
    if name == "lines --timeout":
        return  # No line, so nothing to wait for.
    result = run(program, [*before, "0", *after])
    assert result.exit_code == 1, result.output


TEXTS: dict[str, tuple[Program, list[str]]] = {
    "topic": (emitters, ["event:\udcff", "{}"]),
    "json": (emitters, ["event:x", '{"a": "\udcff"}']),
    "type": (emitters, ["event:x", "{}", "--type", "\udcff"]),
    "user": (emitters, ["event:x", "{}", "--user", "\udcff"]),
    "name": (emitters, ["event:x", "{}", "--name", "\udcff"]),
    "prefix": (emitters, ["tail", "\udcff"]),
    "spool": (emitters, ["event:x", "{}", "--spool", "/proc/\udcff"]),
    "ingress": (emitters, ["event:x", "{}", "--ingress", "tcp://\udcff:1"]),
    "egress": (emitters, ["tail", "--egress", "ipc:///run/\udcff"]),
    "task user": (emitters, ["task", "--timeout", "0", "--user", "\udcff", "--", "true"]),
    "token": (edge, ["token", "\udcff"]),
    "added user": (edge, ["user", "add", "\udcff", "--password-stdin"]),
    "removed user": (edge, ["user", "remove", "\udcff"]),
    "stream": (relay, ["journal", "tail", "\udcff"]),
    "copy": (relay, ["journal", "copy", "/proc/\udcff"]),
    "restore": (relay, ["journal", "restore", "/proc/\udcff"]),
}


@pytest.mark.parametrize("name", TEXTS)
def test_arguments_that_are_not_utf_8(name: str) -> None:
    """As the interpreter hands them over: bytes that are not UTF-8 become surrogates."""
    program, arguments = TEXTS[name]
    result = run(program, arguments)
    assert result.exit_code in (1, 2)
    assert result.output
