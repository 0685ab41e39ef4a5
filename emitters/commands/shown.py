"""Events on standard output, for programs or for people; and whether anybody reads it."""

import json
import os
import select
import stat
import sys
from datetime import datetime
from typing import Any

import click

from relay.shared.console import json_line


class Show:
    """Prints events until it has printed enough."""

    def __init__(self, pretty: bool, count: int | None) -> None:
        """`count` is the number of events after which it is enough; None for no end."""
        self._show = pretty_event if pretty else _compact
        self._left = count

    def __call__(self, event: dict[str, Any]) -> bool:
        """Print an event, by field; return whether more are wanted."""
        click.echo(self._show(event))
        if self._left is not None:
            self._left -= 1
        return self._left != 0


def pretty_event(event: dict[str, Any]) -> str:
    """Return an event for people: time, topic, and indented data."""
    at = _clock_time(event.get("relayed_at", event["emitted_at"]))
    number = f" #{event['offset']}" if event["offset"] else ""
    username = event.get("username")
    whom = f" for {_harmless(username)}" if username is not None else ""
    source = f" from {_harmless(event['source'])}" if event["source"] else ""
    topic = click.style(_harmless(event["topic"]), bold=True)
    head = f"{click.style(at, dim=True)} {topic}{number}"
    data = json.dumps(event["data"], ensure_ascii=False, indent=2)
    return "\n".join([f"{head}{source}{whom}", *map(_harmless, data.splitlines())])


def _compact(event: dict[str, Any]) -> str:
    return json_line(event, sys.stdout, (",", ":"))


def _clock_time(unix_ms: int) -> str:
    try:
        return datetime.fromtimestamp(unix_ms / 1000).strftime("%H:%M:%S.%f")[:-3]
    except (ValueError, OverflowError, OSError):
        return f"{unix_ms} ms"  # A clock that is beyond the year 9999.


def _harmless(text: str) -> str:
    """Return `text` without control characters: events must not steer the terminal."""
    return "".join(char if char.isprintable() else "�" for char in text)


def piped_output() -> int | None:
    """Return the descriptor of standard output if it is a pipe whose reader may go away."""
    output = sys.stdout.fileno()
    is_pipe = stat.S_ISFIFO(os.fstat(output).st_mode)
    return output if is_pipe and hasattr(select, "poll") else None


def reader_is_gone(descriptor: int) -> bool:
    """Whether nobody reads the pipe any more."""
    poller = select.poll()
    poller.register(descriptor, 0)
    return any(flags & select.POLLERR for _, flags in poller.poll(0))
