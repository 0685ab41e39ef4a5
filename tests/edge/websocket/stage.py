"""Event loops, scenarios and payloads for the tests of `Client`."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

from edge.core.hub.audience import FrameBatch
from tests.edge.wire import Server, serving, text

FILLING = b"x" * 8192
FRAGMENT = 0x01
"""First byte of a text frame that is not the last of its message."""
NO_MASK = b"\x81\x01x"
LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
ROADS = ("socket", "asgi")
"""The kinds of transport under a client."""

Scenario = Callable[[Server], Coroutine[Any, Any, None]]
Play = Callable[[Scenario], None]

on_both_loops = pytest.mark.parametrize("loop_name", sorted(LOOPS))
on_both_roads = pytest.mark.parametrize("road", ROADS)


def play_on(loop: str, scenario: Scenario, **options: Any) -> None:
    """Run a scenario with a server of its own."""

    async def on_stage() -> None:
        async with serving(**options) as server:
            await scenario(server)

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(on_stage())


def batch(*payloads: bytes, topic: str | None = None) -> FrameBatch:
    """Return a batch of text frames, replaceable by newer ones if `topic` is given."""
    return FrameBatch([text(payload) for payload in payloads], [topic] * len(payloads))


def close_payload(code: int, reason: str = "") -> bytes:
    """Return the payload of a close frame."""
    return code.to_bytes(2) + reason.encode()


def accounted(server: Server) -> int:
    """Return the number of frames that are counted; it must equal the number sent."""
    stats = server.stats
    waiting = sum(client.waiting for client in server.clients)
    return stats.written + stats.disconnected + stats.slow_consumer + stats.conflated + waiting
