"""`event-emit tail`: the relay's events on standard output."""

import json
import os
import select
import signal
import stat
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any, ClassVar

import click

from emitters.commands.session import PROGRAM, BadInput, Unreachable, say
from emitters.config import EmitterSettings
from emitters.relay_reader import RelayedEvent, RelayReader
from relay.shared.console import interrupt_once, is_unicode
from relay.shared.program import discard
from relay.shared.seconds import SECONDS
from relay.shared.settings import (
    PeerEndpoint,
    Settings,
    SettingsError,
    load,
    refuse,
    settings_config,
)
from relay.wire.control import HEARTBEATS_UNTIL_LOST

SILENT_AFTER_S = 5.0
"""Without any message for this long the relay is gone, unless its heartbeats are rarer."""


class TailSettings(Settings):
    """Where `tail` finds the relay: `EMITTER_RELAY_EGRESS`."""

    model_config = settings_config("EMITTER_")
    others_of_section: ClassVar[tuple[str, ...]] = tuple(EmitterSettings.model_fields)

    relay_egress: PeerEndpoint = "tcp://127.0.0.1:5556"


@click.command(short_help="Watch events as they happen.")
@click.argument("prefix", default="")
@click.option("--pretty", is_flag=True, help="For people: time, topic, and indented data.")
@click.option("--count", type=click.IntRange(min=1), help="End after so many events.")
@click.option(
    "--egress",
    metavar="ENDPOINT",
    help="Where the relay sends [env: EMITTER_RELAY_EGRESS] [default: tcp://127.0.0.1:5556].",
)
@click.option(
    "--timeout",
    type=SECONDS,
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for the relay at the start.",
)
def tail(prefix: str, pretty: bool, count: int | None, egress: str | None, timeout: float) -> None:
    """Print the events whose topic starts with PREFIX, one JSON line each, until Ctrl-C.

    Each line has epoch, offset (0 on live topics, which are not numbered), topic, type, data,
    username (null if addressed to everybody), source, emitted_at, relayed_at (Unix time in
    milliseconds) and id. Events that are addressed to one user are shown too.

    \b
    Examples:
      event-emit tail event:
      event-emit tail resource-monitor:survival --pretty
      event-emit tail task: | jq .data.message
    """
    try:
        settings = load(TailSettings, relay_egress=egress)
    except SettingsError as error:
        refuse(PROGRAM, error)
    signal.signal(signal.SIGTERM, interrupt_once)
    wanted = prefix.removesuffix("*")
    if not _is_utf8(wanted):
        raise BadInput("PREFIX: must be UTF-8")
    try:
        with RelayReader(settings.relay_egress, wanted) as source:
            _follow(source, wanted, pretty, count, timeout)
    except KeyboardInterrupt:
        return
    except BrokenPipeError:
        discard("stdout")


def _follow(
    source: RelayReader, prefix: str, pretty: bool, count: int | None, timeout: float
) -> None:
    if not source.wait_subscribed(timeout):
        raise Unreachable(timeout, f"nothing is watched at {source.endpoint}")
    say(f"watching {prefix!r} at {source.endpoint}; Ctrl-C ends")
    show = _pretty if pretty else _json_line
    for number, event in enumerate(_events(source), 1):
        click.echo(show(event))
        if number == count:
            return


def _events(source: RelayReader) -> Iterator[RelayedEvent]:
    """Yield events; print a line when the relay falls silent and when it is back."""
    output = sys.stdout.fileno() if _is_pipe(sys.stdout.fileno()) else None
    silent = False
    while True:
        has_events = source.wait(SILENT_AFTER_S, output)
        # A quiet prefix writes nothing, so a broken pipe would not show for days.
        if output is not None and _reader_is_gone(output):
            raise BrokenPipeError
        silent_after_s = max(SILENT_AFTER_S, HEARTBEATS_UNTIL_LOST * source.heartbeat_s)
        if silent != (time.monotonic() - source.heard_at > silent_after_s):
            silent = not silent
            say("the relay is silent" if silent else "the relay is back")
        if has_events:
            yield from source.read()


def _is_pipe(descriptor: int) -> bool:
    return stat.S_ISFIFO(os.fstat(descriptor).st_mode)


def _reader_is_gone(descriptor: int) -> bool:
    poller = select.poll()
    poller.register(descriptor, 0)
    return any(flags & select.POLLERR for _, flags in poller.poll(0))


def _json_line(event: RelayedEvent) -> str:
    # Another encoding than UTF-8 is not JSON's, so that only ASCII can be read anywhere.
    ascii_only = not is_unicode(sys.stdout)
    return json.dumps(_fields(event), ensure_ascii=ascii_only, separators=(",", ":"))


def _fields(event: RelayedEvent) -> dict[str, Any]:
    envelope, stamp = event.envelope, event.stamp
    return {
        "epoch": stamp.epoch,
        "offset": stamp.offset,
        "topic": event.topic.shown,
        "type": envelope.type,
        "data": envelope.data,
        "username": envelope.username,
        "source": envelope.source,
        "emitted_at": envelope.emitted_at,
        "relayed_at": stamp.relayed_at,
        "id": envelope.id,
    }


def _pretty(event: RelayedEvent) -> str:
    envelope = event.envelope
    at = _clock_time(event.stamp.relayed_at)
    number = f" #{event.stamp.offset}" if event.stamp.offset else ""
    whom = f" for {_harmless(envelope.username)}" if envelope.username is not None else ""
    source = f" from {_harmless(envelope.source)}" if envelope.source else ""
    topic = click.style(_harmless(event.topic.shown), bold=True)
    head = f"{click.style(at, dim=True)} {topic}{number}"
    data = json.dumps(envelope.data, ensure_ascii=False, indent=2)
    return "\n".join([f"{head}{source}{whom}", *map(_harmless, data.splitlines())])


def _clock_time(relayed_at: int) -> str:
    try:
        return datetime.fromtimestamp(relayed_at / 1000).strftime("%H:%M:%S.%f")[:-3]
    except (ValueError, OverflowError, OSError):
        return f"{relayed_at} ms"  # A relay whose clock is beyond the year 9999.


def _harmless(text: str) -> str:
    """Return `text` without control characters: events must not steer the terminal."""
    return "".join(char if char.isprintable() else "�" for char in text)


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
