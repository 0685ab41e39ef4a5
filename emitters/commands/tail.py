"""`event-emit tail`: the relay's events on standard output, or those of an edge."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import click

from emitters.commands.session import PROGRAM, BadInput, Unreachable, say
from emitters.commands.shown import Show, piped_output, reader_is_gone
from emitters.config import EmitterSettings
from emitters.relay_reader import RelayedEvent, RelayReader
from relay.shared.console import interrupt_once
from relay.shared.extras import require_extra
from relay.shared.program import discard
from relay.shared.relay_client import RelayClientSettings
from relay.shared.seconds import SECONDS
from relay.shared.settings import (
    PeerEndpoint,
    SettingsError,
    load,
    refuse,
    settings_config,
)
from relay.wire.control import HEARTBEATS_UNTIL_LOST

TOKEN_VARIABLE = "EVENT_RELAY_TOKEN"
SILENT_AFTER_S = 5.0
"""Without any message for this long the relay is gone, unless its heartbeats are rarer."""


class TailSettings(RelayClientSettings):
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
    help="How long to wait for the relay or the edge at the start.",
)
@click.option(
    "--url", metavar="URL", help="Watch through the edge at this wss:// or ws:// address instead."
)
@click.option(
    "--token",
    envvar=TOKEN_VARIABLE,
    help=f"The token for the edge; - reads it from standard input [env: {TOKEN_VARIABLE}].",
)
@click.option(
    "--token-file",
    type=click.Path(exists=True, dir_okay=False, readable=True, path_type=Path),
    help="A file with the token. It is read again for each connection.",
)
def tail(prefix: str, pretty: bool, count: int | None, timeout: float, **source: Any) -> None:
    """Print the events whose topic starts with PREFIX, one JSON line each, until Ctrl-C.

    Each line has epoch, offset (0 on live topics, which are not numbered), topic, type, data,
    username (null if addressed to everybody), source, emitted_at, relayed_at (Unix time in
    milliseconds) and id. Events that are addressed to one user are shown too.

    With --url the events are those that the user of the token may see. The lines lack username,
    relayed_at and id, which an edge does not send, and have stream and retained. A lost
    connection is resumed, and lost events are reported on standard error.

    \b
    Examples:
      event-emit tail event:
      event-emit tail resource-monitor:survival --pretty
      event-emit tail task: | jq .data.message
      event-emit tail event: --url wss://example.org/ws --token-file token.txt
    """
    signal.signal(signal.SIGTERM, interrupt_once)
    wanted = prefix.removesuffix("*")
    if not _is_utf8(wanted):
        raise BadInput("PREFIX: must be UTF-8")
    show = Show(pretty, count)
    try:
        if source["url"] is None:
            _tail_relay(wanted, show, source["egress"], timeout)
        else:
            _tail_edge(wanted, show, source, timeout)
    except KeyboardInterrupt:
        return
    except BrokenPipeError:
        discard("stdout")


def _tail_relay(prefix: str, show: Show, egress: str | None, timeout: float) -> None:
    try:
        settings = load(TailSettings, relay_egress=egress)
    except SettingsError as error:
        refuse(PROGRAM, error)
    with RelayReader(settings.relay_egress, prefix, settings.keys) as source:
        if not source.wait_subscribed(timeout):
            raise Unreachable(timeout, f"nothing is watched at {source.endpoint}")
        say(f"watching {prefix!r} at {source.endpoint}; Ctrl-C ends")
        for event in _events(source):
            if not show(_fields(event)):
                return


def _tail_edge(prefix: str, show: Show, source: dict[str, Any], timeout: float) -> None:
    require_extra(PROGRAM, "client")
    # Here: whoever watches the relay needs no WebSockets.
    from emitters.commands.edge_tail import EdgeAddress, follow_edge, token_source

    token = token_source(source["token"], source["token_file"])
    follow_edge(EdgeAddress(source["url"], token, timeout), prefix, show)


def _events(source: RelayReader) -> Iterator[RelayedEvent]:
    """Yield events; print a line when the relay falls silent and when it is back."""
    output = piped_output()
    silent = False
    while True:
        has_events = source.wait(SILENT_AFTER_S, output)
        # A quiet prefix writes nothing, so a broken pipe would not show for days.
        if output is not None and reader_is_gone(output):
            raise BrokenPipeError
        silent_after_s = max(SILENT_AFTER_S, HEARTBEATS_UNTIL_LOST * source.heartbeat_s)
        if silent != (time.monotonic() - source.heard_at > silent_after_s):
            silent = not silent
            say("the relay is silent" if silent else "the relay is back")
        if has_events:
            yield from source.read()


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


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
