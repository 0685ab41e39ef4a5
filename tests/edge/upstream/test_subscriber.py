"""The subscriber and a scripted relay on real sockets: found, followed, restarted, lost."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from edge.core.control import control_health
from edge.core.streams.relay_state import RelayPhase, RelayState
from edge.upstream.connection import RelayConnection
from edge.upstream.subscriber import RelaySubscriber
from relay.wire.control import (
    SYNC_PREFIX,
    Heartbeat,
    ReplayRequest,
    RetainedReply,
    RetainedRequest,
    pack_message,
)
from relay.wire.header import Stamp, pack_stamp
from relay.wire.topics import Pattern
from tests.edge.core.streams.test_inbound import connect
from tests.edge.relay_words import EPOCH, frames, heartbeat, replay
from tests.edge.upstream.scripted_relay import ScriptedRelay, connected, until
from tests.edge.world import EdgeCore


class RecordingWatcher:
    """Remembers what it learned of the relay."""

    def __init__(self) -> None:
        self.news: list[str] = []

    def relay_found(self) -> None:
        """Remember."""
        self.news.append("found")

    def relay_lost(self) -> None:
        """Remember."""
        self.news.append("lost")


class Following:
    """A subscriber, and all that it talks to."""

    def __init__(self, relay: ScriptedRelay, connection: RelayConnection, timeout_s: float) -> None:
        self.relay = relay
        self.connection = connection
        self.core = EdgeCore()
        self.watcher = RecordingWatcher()
        self.state = RelayState(timeout_s)
        self.batches = 0
        self.subscriber = RelaySubscriber(
            connection, self.state, self.core.inbound, self.watcher, self._end_batch
        )

    async def follow(self) -> None:
        """The relay appears."""
        await self.relay.answer_handshake(heartbeat(10))
        await until(lambda: self.state.is_alive)

    def _end_batch(self) -> None:
        self.batches += 1
        self.core.manager.flush()


@asynccontextmanager
async def following(timeout_s: float = 60.0) -> AsyncIterator[Following]:
    """A subscriber that has not found the relay yet."""
    async with connected() as (relay, connection):
        edge = Following(relay, connection, timeout_s)
        try:
            yield edge
        finally:
            edge.subscriber.close()


def restarted(beat: Heartbeat) -> Heartbeat:
    return beat.model_copy(update={"started_at": 2})


def test_events_and_heartbeats_count_once_the_handshake_is_answered() -> None:
    async def scenario() -> None:
        async with following() as edge:
            await edge.relay.subscribed(SYNC_PREFIX)
            await edge.relay.beat(heartbeat(9))
            await edge.follow()
            assert edge.watcher.news == ["found"]
            assert edge.core.streams.offsets["event"] == 10
            request = await edge.relay.request()
            assert isinstance(request, RetainedRequest), "the states of tasks"
            alice = connect(edge.core, "event:*")
            await edge.relay.send(*frames("event:a", 11))
            await until(lambda: alice.frames)
            assert edge.state.phase is RelayPhase.FOLLOWING

    asyncio.run(scenario())


def test_an_event_that_was_lost_is_requested_and_comes_first() -> None:
    async def scenario() -> None:
        async with following() as edge:
            await edge.follow()
            alice = connect(edge.core, "event:*")
            await edge.relay.send(*frames("event:a", 12))
            while not isinstance(request := await edge.relay.request(), ReplayRequest):
                pass
            assert (request.stream, request.after) == ("event", 10)
            reply = replay(frames("event:a", 11), tip=12)
            await edge.relay.reply(reply.model_copy(update={"id": request.id}))
            await until(lambda: alice.frames)
            assert [message["offset"] for message in alice.take()] == [11, 12]

    asyncio.run(scenario())


def test_kinds_that_are_journaled_besides_are_subscribed_to_before_they_are_followed() -> None:
    """An event of theirs may pass before the subscription is in place: one more handshake."""

    async def scenario() -> None:
        async with following() as edge:
            beat = heartbeat(10)
            beat = beat.model_copy(
                update={"tips": {**beat.tips, "audit": 3}, "low": {**beat.low, "audit": 1}}
            )
            await edge.relay.answer_handshake(beat)
            await edge.relay.subscribed(b"audit:")
            assert not edge.state.is_alive
            await edge.relay.answer_handshake(beat)
            await until(lambda: edge.state.is_alive)
            assert edge.core.streams.offsets["audit"] == 3

    asyncio.run(scenario())


def test_a_restarted_relay_is_synchronized_with_and_clients_stay() -> None:
    async def scenario() -> None:
        async with following() as edge:
            await edge.follow()
            await edge.relay.beat(restarted(heartbeat(12)))
            await until(lambda: edge.state.phase is RelayPhase.SYNCHRONIZING)
            await edge.relay.answer_handshake(restarted(heartbeat(12)))
            await until(lambda: edge.state.is_alive)
            assert edge.watcher.news == ["found", "found"]
            assert edge.core.streams.offsets["event"] == 10, "the place in the stream is kept"
            assert edge.core.inbound.is_behind, "and the events in between are missing"

    asyncio.run(scenario())


@pytest.mark.parametrize("is_restarted", [False, True])
def test_over_a_new_connection_the_last_values_are_requested_again(is_restarted: bool) -> None:
    """Values that were sent while the subscriptions were not in place are lost."""

    async def scenario() -> None:
        async with following() as edge:
            edge.relay.answer_hellos()
            nonce = await edge.relay.subscribed(SYNC_PREFIX)
            await edge.follow()
            states = await edge.relay.request()
            edge.connection.subscriptions.wanted(Pattern("live:a", exact=True), "alice")
            edge.connection.requests.forget_last_values(Pattern("live:a", exact=True))
            await edge.relay.reply(RetainedReply(id=states.id, items=()))
            if is_restarted:
                await edge.relay.beat(restarted(heartbeat(10)))
                await edge.relay.answer_handshake(restarted(heartbeat(10)))
            else:
                await edge.relay.publish(nonce, pack_message(heartbeat(11)))
            while not isinstance(request := await edge.relay.request(), RetainedRequest) or (
                request.prefix != "live:a"
            ):
                if isinstance(request, RetainedRequest):
                    await edge.relay.reply(RetainedReply(id=request.id, items=()))
            assert request.exact
            assert edge.watcher.news == ["found"] * (1 + is_restarted), "clients do not notice"
            assert edge.core.inbound.is_behind is not is_restarted, "and events are missing"

    asyncio.run(scenario())


def test_a_new_epoch_begins_the_streams_anew() -> None:
    async def scenario() -> None:
        async with following() as edge:
            await edge.follow()
            await edge.relay.beat(restarted(heartbeat(3)), EPOCH + 1)
            await edge.relay.answer_handshake(restarted(heartbeat(3)), EPOCH + 1)
            await until(lambda: edge.core.streams.epoch == EPOCH + 1)
            assert edge.core.streams.offsets["event"] == 3

    asyncio.run(scenario())


def test_a_silent_relay_is_lost_and_found_again() -> None:
    async def scenario() -> None:
        async with following(timeout_s=0.3) as edge:
            await edge.follow()
            await until(lambda: edge.watcher.news == ["found", "lost"])
            assert not edge.state.is_alive
            await edge.follow()
            assert edge.watcher.news == ["found", "lost", "found"]

    asyncio.run(scenario())


def test_a_heartbeat_that_is_not_understood_changes_nothing() -> None:
    async def scenario() -> None:
        async with following() as edge:
            await edge.follow()
            await edge.relay.publish(b"!heartbeat", b"\xc1")
            await edge.relay.send(b"!heartbeat", pack_stamp(Stamp(EPOCH, 0, 1)))
            alice = connect(edge.core, "event:*")
            await edge.relay.send(*frames("event:a", 11))
            await until(lambda: alice.frames)
            assert edge.state.is_alive

    asyncio.run(scenario())


def test_whether_the_relay_can_write_its_journal_is_known_from_its_heartbeats() -> None:
    async def scenario() -> None:
        async with following() as edge:
            await edge.follow()
            assert edge.state.is_journaling
            await edge.relay.beat(heartbeat(10).model_copy(update={"journaling": False}))
            await until(lambda: not edge.state.is_journaling)

    asyncio.run(scenario())


def test_a_relay_that_lost_events_is_followed_under_its_next_epoch() -> None:
    """Or its new events would be dropped as repeated ones, for they have the same offsets."""

    async def scenario() -> None:
        async with following() as edge:
            await edge.follow()
            await edge.relay.send(*frames("event:x", 11))
            await until(lambda: edge.core.streams.offsets["event"] == 11)
            rolled_back = restarted(heartbeat(10))
            await edge.relay.beat(rolled_back)
            await until(lambda: edge.state.phase is RelayPhase.SYNCHRONIZING)
            while (hello := await edge.relay.hello()).heads is None or hello.heads["event"][0] < 11:
                pass
            offset, checksum = hello.heads["event"]
            assert (hello.epoch, offset, checksum is None) == (EPOCH, 11, False)
            await edge.relay.answer_handshake(rolled_back)
            await edge.relay.answer_handshake(rolled_back, EPOCH + 1)
            await until(lambda: edge.state.is_alive)
            assert edge.core.streams.epoch == EPOCH + 1, "it had not read the hello before"

    asyncio.run(scenario())


def test_an_old_heartbeat_behind_newer_events_is_no_lost_journal() -> None:
    """libzmq may deliver the messages of a broken connection behind those of the next one."""

    async def scenario() -> None:
        async with following() as edge:
            await edge.follow()
            await edge.relay.send(*frames("event:x", 11))
            await edge.relay.beat(heartbeat(10))
            await edge.relay.send(*frames("event:x", 12))
            await until(lambda: edge.core.streams.offsets["event"] == 12)
            assert edge.state.is_alive

    asyncio.run(scenario())


def test_clients_do_not_wait_for_ever_behind_a_hole_that_the_relay_does_not_close(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It sends heartbeats and answers hellos; only its replays do not come."""
    monkeypatch.setattr(control_health, "REPLAY_TIMEOUT_S", 0.3)

    async def scenario() -> None:
        async with following() as edge:
            edge.relay.answer_hellos()
            await edge.follow()
            await edge.relay.send(*frames("event:a", 12))
            while not isinstance(request := await edge.relay.request(), ReplayRequest):
                pass
            reading = asyncio.create_task(edge.relay.request())
            await until(lambda: edge.watcher.news == ["found", "lost"])
            assert edge.state.is_alive
            assert edge.core.inbound.is_behind
            reading.cancel()
            reply = replay(frames("event:a", 11), tip=12)
            await edge.relay.reply(reply.model_copy(update={"id": request.id}))
            await until(lambda: not edge.core.inbound.is_behind)
            assert edge.watcher.news == ["found", "lost"], "and they are sent away once"

    asyncio.run(scenario())


def test_an_unanswered_request_is_repeated_when_a_later_one_is_answered() -> None:
    """The probe of the control connection is such a later one."""

    async def scenario() -> None:
        async with following() as edge:
            edge.relay.answer_hellos()
            await edge.follow()
            await edge.relay.send(*frames("event:a", 12))
            repairs: list[ReplayRequest] = []
            while len(repairs) < 2:
                request = await edge.relay.request()
                if isinstance(request, ReplayRequest):
                    repairs.append(request)
            first, second = repairs
            assert (second.stream, second.after) == (first.stream, first.after) == ("event", 10)

    asyncio.run(scenario())


def test_a_found_relay_is_sent_again_what_its_predecessor_was_asked() -> None:
    async def scenario() -> None:
        async with following() as edge:
            await edge.follow()
            fetching = asyncio.create_task(edge.connection.requests.replay("event", 3, 5))
            while not isinstance(first := await edge.relay.request(), ReplayRequest):
                pass
            await edge.relay.beat(restarted(heartbeat(10)))
            await edge.relay.answer_handshake(restarted(heartbeat(10)))
            while not isinstance(second := await edge.relay.request(), ReplayRequest):
                pass
            assert first == second
            fetching.cancel()

    asyncio.run(scenario())
