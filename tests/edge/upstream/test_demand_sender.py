"""Reports of the demand on a real socket."""

import asyncio

import pytest

from edge.core.hub import demand_log
from edge.core.hub.demand_log import RETRY_S
from relay.wire.control import ErrorReply
from relay.wire.demand import pack_digests, topic_digest
from relay.wire.demand_messages import DemandReply, DemandRequest
from relay.wire.topics import Pattern
from tests.edge.upstream.scripted_relay import ScriptedRelay, connected, until


def digests(*names: str) -> bytes:
    return pack_digests(topic_digest(f"live:{name}") for name in names)


async def accept(relay: ScriptedRelay) -> DemandRequest:
    """Answer the next report."""
    report = await relay.report()
    await relay.reply(DemandReply(id=report.id, version=report.version))
    return report


def pass_time(seconds: float) -> None:
    """Let the clock of the running loop be ahead by so much."""
    loop = asyncio.get_running_loop()
    clock = loop.time
    loop.time = lambda: clock() + seconds  # type: ignore[method-assign]


def test_the_topics_of_one_turn_are_reported_together_and_the_next_ones_after_the_reply() -> None:
    async def scenario() -> None:
        async with connected() as (relay, connection):
            connection.subscriptions.wanted(Pattern("live:a", exact=True), "alice")
            connection.subscriptions.wanted(Pattern("live:b*", exact=False), "alice")
            connection.subscriptions.wanted(Pattern("live:c", exact=True), "alice")
            first = await relay.report()
            assert (first.after, first.watch) == (0, digests("a", "c"))
            connection.subscriptions.unwanted(Pattern("live:a", exact=True))
            await relay.reply(DemandReply(id=first.id, version=first.version))
            second = await relay.report()
            assert (second.after, second.unwatch) == (first.version, digests("a"))
            assert second.edge == first.edge

    asyncio.run(scenario())


def test_a_report_is_repeated_and_a_late_reply_to_it_ignored() -> None:
    async def scenario() -> None:
        async with connected() as (relay, connection):
            connection.demand.watch("live:a")
            first = await relay.report()
            pass_time(RETRY_S)
            again = await relay.report()
            assert again.model_copy(update={"id": first.id}) == first
            await relay.reply(DemandReply(id=first.id, version=0))
            await relay.reply(DemandReply(id=again.id, version=again.version))
            connection.demand.watch("live:b")
            third = await accept(relay)
            assert (third.after, third.watch) == (first.version, digests("b"))

    asyncio.run(scenario())


def test_a_restarted_relay_is_told_everything() -> None:
    async def scenario() -> None:
        async with connected() as (relay, connection):
            connection.demand.watch("live:a")
            await accept(relay)
            connection.demand.watch("live:b")
            await relay.report()
            connection.demand.relay_restarted()
            report = await accept(relay)
            assert (report.after, len(report.watch)) == (0, len(digests("a", "b")))

    asyncio.run(scenario())


def test_an_edge_whose_demand_is_refused_subscribes_plainly_until_it_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(demand_log, "REFUSED_S", 1.0)

    async def scenario() -> None:
        async with connected() as (relay, connection):
            connection.subscriptions.wanted(Pattern("live:a", exact=True), "alice")
            await relay.subscribed(b"!filtered:live:a")
            report = await relay.report()
            # A relay that does not know the request answers with the id 0.
            await relay.reply(ErrorReply(id=0, code="bad_request", message="op"))
            await until(lambda: not connection.demand.is_complete)
            pass_time(1.0)
            again = await accept(relay)
            assert (again.after, again.watch) == (0, report.watch)
            await until(lambda: connection.demand.is_complete)

    asyncio.run(scenario())
