"""`event-emit tail --url`: the events that a user may see, through an edge.

`edge.client` is a client like any other and no part of the server: no other file of the emitters
imports anything of the edge.
"""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from edge.client import (
    ClosedByEdge,
    ConnectionState,
    EdgeUnreachable,
    Event,
    EventStream,
    Forbidden,
    RelayClient,
    RequestRefused,
    TokenRefused,
    connect,
)
from emitters.commands.session import BadInput, NotTaken, say
from emitters.commands.shown import Show, piped_output, reader_is_gone

LOOK_FOR_READER_S = 1.0
"""A quiet prefix writes nothing, so a broken pipe would not show for days."""

GetToken = str | Callable[[], str]


class EdgeAddress(NamedTuple):
    """Where the edge is, and the way in."""

    url: str
    token: GetToken
    timeout_s: float


def token_source(token: str | None, file: Path | None) -> GetToken:
    """Return the token of the options, or a function that reads it; raise `BadInput` without one.

    A file can be renewed while `tail` runs. Only a token in an option shows in lists of processes.
    """
    if file is not None:
        return lambda: file.read_text(encoding="utf-8").strip()
    given = sys.stdin.readline().strip() if token == "-" else token
    if not given:
        raise BadInput("token: missing; give --token, --token-file or EVENT_RELAY_TOKEN")
    return given


def follow_edge(address: EdgeAddress, prefix: str, show: Show) -> None:
    """Print events whose topic starts with `prefix` until `show` has enough."""
    try:
        asyncio.run(_follow(address, prefix, show))
    except EdgeUnreachable as error:
        raise NotTaken(error) from None
    except TokenRefused as error:
        raise BadInput(f"token: refused: {error.reason}") from None
    except ClosedByEdge as error:
        raise NotTaken(error) from None
    except RequestRefused as error:
        raise BadInput(f"PREFIX: {error}") from None
    except ValueError as error:
        raise BadInput(str(error)) from None


async def _follow(address: EdgeAddress, prefix: str, show: Show) -> None:
    client = connect(
        address.url,
        token=address.token,
        on_loss=lambda loss: say(f"lost: {loss}"),
        on_state=_Outage(),
        open_timeout_s=address.timeout_s,
    )
    async with client as relay:
        events = await _open(relay, prefix)
        say(f"watching {prefix!r} at {address.url}; Ctrl-C ends")
        output = piped_output()
        while True:
            try:
                async with asyncio.timeout(LOOK_FOR_READER_S):
                    event = await anext(events)
            except TimeoutError:
                if output is not None and reader_is_gone(output):
                    raise BrokenPipeError from None
                continue
            is_wanted = event.topic.startswith(prefix)
            if is_wanted and not show(_fields(event, relay.position[0])):
                return


async def _open(relay: RelayClient, prefix: str) -> EventStream:
    """Subscribe; if that is not allowed, listen to the events that are for this user alone."""
    events = relay.subscribe(f"{prefix}*")
    try:
        return await events.__aenter__()
    except Forbidden as error:
        say(f"{error}; showing events for this user alone")
        return relay.tasks() if prefix.startswith("task") else relay.addressed()


class _Outage:
    """Says when the connection is lost, and when it is back."""

    def __init__(self) -> None:
        self._is_lost = False
        self._was_live = False

    def __call__(self, state: ConnectionState) -> None:
        if state.name == "waiting" and self._was_live and not self._is_lost:
            self._is_lost = True
            say(f"the connection is lost ({state.code} {state.reason}); trying again")
        elif state.name == "live":
            if self._is_lost:
                say("the connection is back")
            self._is_lost, self._was_live = False, True


def _fields(event: Event, epoch: int | str | None) -> dict[str, Any]:
    return {
        "epoch": epoch,
        "offset": event.offset or 0,
        "topic": event.topic,
        "type": event.type,
        "data": event.data,
        "source": event.source,
        "emitted_at": event.emitted_at,
        "stream": event.stream,
        "retained": event.retained,
    }
