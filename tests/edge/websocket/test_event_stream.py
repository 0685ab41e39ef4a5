"""`SseStream`: frames become Server-Sent Events, and the policy is that of every client."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from edge.core.protocol import messages
from edge.core.protocol.positions import FollowedPosition
from edge.core.websocket.close_codes import CloseCode, try_again
from edge.websocket.event_stream import SseStream, SseStreams
from edge.websocket.http_connection import RESPONSE, ResponseControl
from edge.websocket.socket_cutter import SocketCutter
from tests.edge.wire import MAX_QUEUED_BYTES, Server, turn

TIMEOUT_S = 10.0
Events = AsyncIterator[bytes]
Scenario = Callable[[SseStream, Events, Server], Awaitable[None]]


def play(scenario: Scenario, scope: dict[str, Any] | None = None, **options: Any) -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        server = Server(loop, **options)
        stream = SseStream(
            server.services,
            FollowedPosition(None, 0),
            SocketCutter(loop, 1.0),
            {"type": "http", **(scope or {})},
        )
        events = stream.events()
        assert (await anext(events)).startswith(b"retry: ")
        await asyncio.wait_for(scenario(stream, events, server), TIMEOUT_S)
        stream.end()

    asyncio.run(run())


def test_frames_of_a_turn_come_together_with_their_position() -> None:
    async def scenario(stream: SseStream, events: Events, _: Server) -> None:
        stream.client.send(messages.position(7, {"event": 3}))
        stream.client.send(messages.frame({"type": "greeting", "text": "two\nlines"}))
        stream.client.send_live("meter:a", messages.frame({"topic": "meter:a", "data": 1}))
        assert await anext(events) == (
            b'data: {"type":"position","epoch":7,"position":{"event":3}}\nid: 7:event=3\n\n'
            b'data: {"type":"greeting","text":"two\\nlines"}\n\n'
            b'data: {"topic":"meter:a","data":1}\n\n'
        )

    play(scenario)


def test_a_ping_is_a_comment_and_the_client_counts_as_heard() -> None:
    async def scenario(stream: SseStream, events: Events, _server: Server) -> None:
        came: list[bytes] = []

        async def take_all() -> None:
            async for chunk in events:
                came.append(chunk)

        taking = asyncio.create_task(take_all())
        for count in range(1, 5):
            stream.client.check_alive()
            while len(came) < count:
                await turn()
        assert all(chunk.startswith(b":") for chunk in came)
        stream.client.close(CloseCode.GOING_AWAY.close())
        await taking

    play(scenario)


def test_a_client_that_takes_no_ping_is_given_up() -> None:
    async def scenario(stream: SseStream, events: Events, server: Server) -> None:
        for _ in range(3):
            stream.client.check_alive()
        assert server.stats.closed == {1011: 1}

    play(scenario)


def test_a_close_frame_is_the_last_event() -> None:
    async def scenario(stream: SseStream, events: Events, _: Server) -> None:
        stream.client.send(messages.position(7, {}))
        stream.client.close(CloseCode.TOKEN_EXPIRED.close())
        last = b"".join([chunk async for chunk in events])
        data = b'{"type":"close","code":4001,"reason":"token expired"}'
        assert last.endswith(b"event: close\ndata: " + data + b"\n\n")
        assert last.startswith(b'data: {"type":"position"')

    play(scenario)


def test_a_client_that_is_sent_away_is_told_when_to_come_back() -> None:
    async def scenario(stream: SseStream, events: Events, _: Server) -> None:
        stream.client.close(try_again("the relay's heartbeat is missing", 3))
        last = b"".join([chunk async for chunk in events]).decode()
        (retry,) = [line for line in last.split("\n") if line.startswith("retry: ")]
        assert 3000 <= int(retry.removeprefix("retry: ")) <= 6000

    play(scenario)


def test_what_the_server_does_not_take_is_bounded_and_live_values_are_merged() -> None:
    async def scenario(stream: SseStream, events: Events, server: Server) -> None:
        client = stream.client
        client.send(messages.frame({"n": 0}))
        assert b'"n":0' in await anext(events)
        # The server has not come for more: it is still at that one.
        for number in range(1, 4):
            client.send_live("meter:a", messages.frame({"n": number}))
            await turn()
        assert client.waiting == 1
        assert server.stats.conflated == 2
        assert b'"n":3' in await anext(events)
        ballast = messages.frame({"x": "x" * 10_000})
        for _ in range(MAX_QUEUED_BYTES // 10_000 + 2):
            client.send(ballast)
            await turn()
        assert client.closed
        assert server.stats.closed == {4008: 1}
        assert server.budget.used_bytes == 0

    play(scenario)


def test_a_client_that_does_not_read_its_end_is_cut() -> None:
    cut = asyncio.Event()
    scope = {RESPONSE: ResponseControl(cut.set)}

    async def scenario(stream: SseStream, events: Events, _: Server) -> None:
        stream.client.close(CloseCode.TOO_SLOW.close())
        await anext(events)
        await cut.wait()

    play(scenario, scope, close_timeout_s=0.05)


def test_without_a_connection_to_cut_the_response_is_cancelled() -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        stream = SseStream(
            Server(loop).services, FollowedPosition(None, 0), SocketCutter(loop, 1.0), {}
        )
        responding = asyncio.create_task(_read(stream.events()))
        await turn()
        stream.abort()
        stream.abort()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(responding, TIMEOUT_S)

    asyncio.run(run())


async def _read(events: Events) -> bytes:
    return b"".join([chunk async for chunk in events])


def test_our_own_server_ends_the_stream_itself() -> None:
    control = ResponseControl(lambda: None)

    async def scenario(stream: SseStream, events: Events, _: Server) -> None:
        assert stream.is_told_to_stop
        assert control.shutdown is not None
        control.shutdown()
        assert b'"code":1001' in await _read(events)
        stream.end()
        assert control.shutdown is None

    play(scenario, {RESPONSE: control})


def test_all_streams_of_a_worker_end_with_it() -> None:
    async def scenario(stream: SseStream, events: Events, _: Server) -> None:
        streams = SseStreams(asyncio.get_running_loop())
        streams.add(stream)
        streams.close()
        assert b'"code":1001' in await _read(events)
        streams.discard(stream)

    play(scenario)


@pytest.mark.parametrize("is_closed", [True, False])
def test_the_end_is_told_once(is_closed: bool) -> None:
    async def scenario(stream: SseStream, events: Events, server: Server) -> None:
        if is_closed:
            stream.client.close(CloseCode.GOING_AWAY.close())
        stream.end()
        assert server.departed == [stream.client]
        server.departed.clear()

    play(scenario)
