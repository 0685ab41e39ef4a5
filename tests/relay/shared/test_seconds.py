"""Options for a time to wait, at every command that has one."""

import click
import pytest

from relay.shared.seconds import SECONDS
from tests.support.processes import run_cli

COMMANDS = [
    ("relay", "stats", "--timeout"),
    ("emitters", "tail", "--timeout"),
    ("emitters", "publish", "--timeout"),
    ("relay.demo.welcome", "--timeout"),
]


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "-1", "1e9", "1e400", "soon", ""])
def test_no_odd_time_is_taken(value: str) -> None:
    with pytest.raises(click.BadParameter):
        SECONDS.convert(value, None, None)


@pytest.mark.parametrize(("value", "seconds"), [("0", 0), ("0.5", 0.5), ("86400", 86400)])
def test_times_of_up_to_a_day_are_taken(value: str, seconds: float) -> None:
    assert SECONDS.convert(value, None, None) == seconds


@pytest.mark.process
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_refuses_nan_without_a_traceback(command: tuple[str, ...]) -> None:
    ended = run_cli(*command, "nan", env={})
    assert ended.returncode == 2
    assert "Invalid value for '--timeout'" in ended.stderr
    assert "Traceback" not in ended.stderr
