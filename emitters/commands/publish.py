"""`event-emit TOPIC JSON`, and JSON lines on standard input."""

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

import click

from emitters.commands.session import (
    EXIT_BAD_INPUT,
    BadInput,
    Unreachable,
    explain,
    open_emitter,
    relay_options,
    say,
)
from emitters.emitter import Emitter
from emitters.errors import NotPermitted, OutboxFull
from relay.shared.console import BOM
from relay.wire.errors import WireError

MAX_LINE_BYTES = 4 * 1024 * 1024
"""Longer lines are refused. Four times the largest envelope leaves room for JSON's escapes."""

_FIELDS = ("topic", "data", "type", "username")


@dataclass(frozen=True, slots=True)
class Publication:
    """An event that the caller asks for; nothing of it is checked yet."""

    topic: Any
    data: Any
    type: Any = None
    username: Any = None

    def emit(self, emitter: Emitter) -> None:
        """Emit the event, or raise `BadInput` that names the field."""
        if not isinstance(self.topic, str):
            raise BadInput("topic: must be text")
        try:
            emitter.emit(self.topic, self.data, type=self.type, username=self.username)
        except NotPermitted as error:
            raise BadInput(str(error)) from None
        except WireError as error:
            raise BadInput(explain(error)) from None


@click.command(short_help="Publish one event, or JSON lines (the default; needs no name).")
@click.argument("topic", required=False)
@click.argument("data", required=False, metavar="[JSON]")
@click.option("--type", "type_", help="The type of the event [default: by its topic].")
@click.option("--user", "username", help="Deliver the event to this user only.")
@relay_options
def publish(
    topic: str | None,
    data: str | None,
    type_: str | None,
    username: str | None,
    timeout: float,
    **relay: Any,
) -> None:
    """Publish one event, or without arguments those on standard input.

    Each line of standard input is {"topic": "…", "data": {…}}, optionally with "type" and
    "username". A line that cannot be published is named on standard error, the others are
    published, and the exit code is 2.

    \b
    Examples:
      event-emit event:after_backup '{"server_name": "survival"}'
      echo '{"topic": "event:ping", "data": {}}' | event-emit
    """
    if topic is None:
        _publish_lines(_lines(sys.stdin.buffer), timeout, relay)
        return
    if data is None:
        raise BadInput('JSON: is missing; for example \'{"server_name": "survival"}\'')
    event = Publication(topic, _parse(data, "JSON: "), type_, username)
    with open_emitter(**relay) as emitter:
        event.emit(emitter)
        _deliver(emitter, timeout)


def _publish_lines(lines: Iterator[bytes], timeout: float, relay: dict[str, Any]) -> None:
    refused = 0
    with open_emitter(block_timeout_s=timeout, **relay) as emitter:
        reached = False
        for number, line in enumerate(lines, 1):
            # Anywhere, and not only in the first line: files are concatenated.
            line = line.removeprefix(BOM)
            if not line.strip():
                continue
            try:
                _event(line).emit(emitter)
            except BadInput as error:
                refused += 1
                say(f"line {number}: {error.message}")
                continue
            except OutboxFull:
                raise Unreachable(timeout, f"line {number} was not sent") from None
            if not reached and emitter.spool is None and not emitter.wait_connected(timeout):
                raise Unreachable(timeout, "nothing was sent")
            reached = True
        if reached or emitter.spool is not None:
            _deliver(emitter, timeout)
    if refused:
        raise SystemExit(EXIT_BAD_INPUT)


def _deliver(emitter: Emitter, timeout: float) -> None:
    give_up_at = time.monotonic() + timeout
    reached = emitter.wait_connected(timeout)
    left = emitter.close(max(0.0, give_up_at - time.monotonic()))
    if refused := emitter.counters()["forbidden"]:
        # Before the first reply of the relay, the emitter did not know what it may publish.
        raise BadInput(f"the relay refused {refused} of the events")
    if left and emitter.spool is not None:
        kept = "1 event is" if left == 1 else f"{left} events are"
        raise Unreachable(timeout, f"{kept} kept in the spool {emitter.spool}")
    if not reached:
        raise Unreachable(timeout, "nothing was sent")
    if left:
        raise Unreachable(timeout, f"{left} events were not sent")


def _lines(stream: IO[bytes]) -> Iterator[bytes]:
    """Yield the lines of `stream`; of a line that is too long, the beginning alone."""
    while line := stream.readline(MAX_LINE_BYTES):
        complete = line.endswith(b"\n")
        yield line
        while not complete and (rest := stream.readline(MAX_LINE_BYTES)):
            complete = rest.endswith(b"\n")


def _event(line: bytes) -> Publication:
    if len(line) >= MAX_LINE_BYTES:
        raise BadInput(f"more than {MAX_LINE_BYTES} bytes")
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise BadInput(f"not UTF-8: {error.reason} at byte {error.start}") from None
    fields = _parse(text, "")
    if not isinstance(fields, dict):
        raise BadInput('must be an object with "topic" and "data"')
    for name in ("topic", "data"):
        if name not in fields:
            raise BadInput(f"{name}: is missing")
    for name in fields:
        if name not in _FIELDS:
            raise BadInput(f"{name[:40]}: unknown field, known are {', '.join(_FIELDS)}")
    return Publication(**fields)


def _parse(text: str, prefix: str) -> Any:
    try:
        return json.loads(text.removeprefix(BOM.decode()))
    except json.JSONDecodeError as error:
        raise BadInput(f"{prefix}not JSON: {error.msg} at character {error.colno}") from None
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{prefix}not usable JSON: {error}") from None
