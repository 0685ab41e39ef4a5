"""The policy for clients that do not read, the same on sockets and on an ASGI server."""

import asyncio

from edge.core.websocket.close_codes import CloseCode
from edge.websocket.broadcast import write_to_all
from tests.edge.websocket.stage import (
    FILLING,
    Play,
    batch,
    close_payload,
    on_both_loops,
    on_both_roads,
    play_on,
)
from tests.edge.wire import MAX_QUEUED_BYTES, Server, text, turn
from tests.support.websocket_frames import CLOSE, TEXT


def test_a_client_that_does_not_read_is_closed_with_4008_when_it_reads_again(
    play_on_roads: Play,
) -> None:
    async def scenario(server: Server) -> None:
        peer, client = await server.connect(unix=True)
        sent = await server.stall(client, FILLING)
        waited = 0
        while not client.closed:
            client.send(text(b"waits" + FILLING))
            waited += 1
            assert client.queued_bytes <= MAX_QUEUED_BYTES, "the limit is kept"
        assert waited > 20
        client.send(text(b"too late"))
        server.loop.call_soon(lambda: client.send_live("live:a", text(b"too late")))
        await turn()
        assert (len(server.budget), server.budget.used_bytes) == (0, 0)
        received = [await peer.frame() for _ in range(len(sent) + 1)]
        assert received[:-1] == [(TEXT, payload) for payload in sent], "what was written arrives"
        assert received[-1] == (CLOSE, close_payload(4008, "too slow"))
        stats = server.stats
        assert stats.closed == {4008: 1}
        assert (stats.written, stats.slow_consumer, stats.disconnected) == (len(sent), waited, 2)

    play_on_roads(scenario)


def test_a_client_that_reads_again_in_time_gets_everything_in_order(play_on_roads: Play) -> None:
    async def scenario(server: Server) -> None:
        peer, client = await server.connect(unix=True)
        sent = await server.stall(client, FILLING)
        for number in range(20):
            sent.append(b"later %d" % number + FILLING)
            client.send(text(sent[-1]))
            await turn()
        assert server.budget.used_bytes == client.queued_bytes > 20 * len(FILLING)
        drained = asyncio.create_task(client.drained())
        await turn()
        assert not drained.done()
        assert await peer.messages(len(sent)) == sent
        await drained
        assert (client.waiting, server.budget.used_bytes, len(server.budget)) == (0, 0, 0)
        write_to_all(server.stats, [client], batch(b"and", b"on"))
        assert await peer.messages(2) == [b"and", b"on"]
        assert not client.closed
        assert server.stats.written == len(sent) + 2

    play_on_roads(scenario)


def test_drained_returns_when_the_client_is_closed(play_on_roads: Play) -> None:
    async def scenario(server: Server) -> None:
        _, client = await server.connect(unix=True)
        await server.stall(client, FILLING)
        drained = asyncio.create_task(client.drained())
        await turn()
        client.close(CloseCode.TRY_AGAIN_LATER.close())
        await drained

    play_on_roads(scenario)


def test_live_values_are_merged_to_the_newest_while_the_client_does_not_read(
    play_on_roads: Play,
) -> None:
    async def scenario(server: Server) -> None:
        peer, client = await server.connect(unix=True)
        sent = await server.stall(client, FILLING)
        client.send(text(b"before"))
        for number in range(10_000):
            client.send_live("live:a", text(b"a%d" % number))
            client.send_batch(batch(b"b%d" % number, topic="live:b"))
        client.send(text(b"after"))
        assert server.stats.conflated == 2 * 9_999
        assert not client.closed
        assert await peer.messages(len(sent)) == sent
        assert await peer.messages(4) == [b"before", b"a9999", b"b9999", b"after"]
        client.send_live("live:a", text(b"current"))
        assert await peer.message() == b"current"

    play_on_roads(scenario)


def test_live_values_of_too_many_topics_close_a_slow_client(play_on_roads: Play) -> None:
    async def scenario(server: Server) -> None:
        peer, client = await server.connect(unix=True)
        sent = await server.stall(client, FILLING)
        number = 0
        while not client.closed:
            client.send_live(f"live:{number}", text(b"x" * 1000))
            number += 1
            assert number <= MAX_QUEUED_BYTES // 1000 + 1, "the limit is kept"
        assert await peer.messages(len(sent)) == sent
        assert await peer.frame() == (CLOSE, close_payload(4008, "too slow"))

    play_on_roads(scenario)


def test_a_slow_client_does_not_delay_the_others(play_on_roads: Play) -> None:
    async def scenario(server: Server) -> None:
        _, slow = await server.connect(unix=True)
        peer, fast = await server.connect(unix=True)
        await server.stall(slow, FILLING)
        for number in range(100):
            payload = b"%d" % number + b"y" * 5000
            write_to_all(server.stats, [slow, fast], batch(payload))
            assert await peer.message() == payload
        assert slow.closed
        assert not fast.closed

    play_on_roads(scenario)


@on_both_roads
@on_both_loops
def test_the_client_with_the_longest_queue_is_closed_first(loop_name: str, road: str) -> None:
    async def scenario(server: Server) -> None:
        ends = [await server.connect(unix=True) for _ in range(4)]
        sent = [await server.stall(client, FILLING) for _, client in ends]
        for (_, client), waiting, payloads in zip(ends, (2, 12, 5), sent, strict=False):
            for number in range(waiting):
                payloads.append(b"waits %d" % number + FILLING)
                client.send(text(payloads[-1]))
        assert server.stats.closed == {}
        (_, few), (_, most), (_, some), (_, reading) = ends
        assert server.budget.used_bytes == sum(client.queued_bytes for _, client in ends)
        while not most.closed:
            sent[0].append(b"one more" + FILLING)
            few.send(text(sent[0][-1]))
        assert [few.closed, some.closed, reading.closed] == [False] * 3
        assert server.stats.closed == {4008: 1}
        assert server.stats.slow_consumer == 12
        assert server.budget.used_bytes == sum(client.queued_bytes for _, client in ends)
        for index in (0, 2, 3):
            assert await ends[index][0].messages(len(sent[index])) == sent[index]
        await turn()
        assert (server.budget.used_bytes, len(server.budget)) == (0, 0)

    total = 24 * (len(FILLING) + 20)
    play_on(loop_name, scenario, road=road, max_total_bytes=total, max_queued_bytes=2**30)


@on_both_roads
@on_both_loops
def test_as_many_are_closed_as_the_budget_needs_and_no_more(loop_name: str, road: str) -> None:
    async def scenario(server: Server) -> None:
        ends = [await server.connect(unix=True) for _ in range(6)]
        for _, client in ends:
            await server.stall(client, FILLING)
        write_to_all(server.stats, [client for _, client in ends], batch(*[FILLING] * 3))
        before = sorted((client.queued_bytes for _, client in ends), reverse=True)
        room = 900_000 - sum(before)
        assert not any(client.closed for _, client in ends)
        ends[0][1].send(text(b"x" * (room + before[1] + 1000)))
        assert ends[0][1].closed, "by itself it is as much as all the others"
        assert [client.closed for _, client in ends[1:]] == [False] * 5
        assert server.budget.used_bytes == sum(client.queued_bytes for _, client in ends)
        for peer, _ in ends:
            peer.reset()
        await server.until(lambda: len(server.departed) == 6)
        assert (server.budget.used_bytes, len(server.budget)) == (0, 0)
        assert sum(client.waiting for _, client in ends) == 0

    play_on(loop_name, scenario, road=road, max_total_bytes=900_000, max_queued_bytes=2**30)
