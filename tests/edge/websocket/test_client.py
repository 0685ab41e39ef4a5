"""`Client` and `WebSocketConnection` on real sockets, among them some that do not read."""

import asyncio
import contextlib
import os
import random
import zlib
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.core.hub.audience import Batch
from edge.core.websocket.close_codes import CloseCode
from edge.core.websocket.frames import Opcode
from edge.core.websocket.protocol import PING
from edge.core.websocket.reader import Message
from edge.websocket import broadcast
from edge.websocket.broadcast import write_to_all
from edge.websocket.client import Client
from tests.edge.wire import MAX_QUEUED_BYTES, Peer, Play, Server, serving, text, turn
from tests.support.websocket_frames import CLOSE, PONG, TEXT, client_frame

FILLING = b"x" * 8192
FRAGMENT = 0x01
"""First byte of a text frame that is not the last of its message."""
NO_MASK = b"\x81\x01x"
LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}

Scenario = Callable[[Server], Coroutine[Any, Any, None]]


def play_on(loop: str, scenario: Scenario, **options: Any) -> None:
    """Run a scenario with a server of its own."""

    async def on_stage() -> None:
        async with serving(**options) as server:
            await scenario(server)

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(on_stage())


@pytest.fixture(params=sorted(LOOPS))
def play(request: pytest.FixtureRequest) -> Play:
    """Run a scenario on either event loop, with a deadline."""
    return lambda scenario: play_on(request.param, scenario)


on_both_loops = pytest.mark.parametrize("loop_name", sorted(LOOPS))


def batch(*payloads: bytes, topic: str | None = None) -> Batch:
    return Batch([text(payload) for payload in payloads], [topic] * len(payloads))


def close_payload(code: int, reason: str = "") -> bytes:
    return code.to_bytes(2) + reason.encode()


def accounted(server: Server) -> int:
    """What has become of the frames that were handed over."""
    stats = server.stats
    waiting = sum(client.waiting for client in server.transports)
    return stats.written + stats.disconnected + stats.slow_consumer + stats.conflated + waiting


# One turn, one write.


def test_what_is_sent_in_one_turn_goes_out_in_one_write_in_order(play: Play) -> None:
    async def scenario(server: Server) -> None:
        peer, client = await server.connect()
        other_peer, other = await server.connect()
        payloads = [b"%d" % number for number in range(20)]
        for payload in payloads:
            client.send(text(payload))
            other.send_live("live:a", text(payload))
        assert server.transports[client].writes == [], "nothing is written before the turn ends"
        assert (client.waiting, other.waiting) == (20, 20)
        assert await peer.messages(20) == payloads
        assert await other_peer.messages(20) == payloads
        joined = b"".join(map(text, payloads))
        assert server.transports[client].writes == [joined]
        assert server.transports[other].writes == [joined]
        assert server.stats.written == accounted(server) == 40

    play(scenario)


def test_a_batch_comes_behind_what_the_client_was_sent_before(play: Play) -> None:
    async def scenario(server: Server) -> None:
        peer, client = await server.connect()
        write_to_all(server.stats, [client], batch(b"1", b"2"))
        client.send(text(b"3"))
        write_to_all(server.stats, [client], batch(b"4"))
        client.send(text(b"5"))
        await turn()
        write_to_all(server.stats, [client], batch(b"6"))
        assert await peer.messages(6) == [b"1", b"2", b"3", b"4", b"5", b"6"]
        assert server.stats.written == 6

    play(scenario)


def test_a_fault_with_one_connection_does_not_keep_the_others_from_being_written_to(
    play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(server: Server) -> None:
        def fail() -> None:
            raise RuntimeError("a fault of ours")

        peer, client = await server.connect()
        server.services.end_of_turn.add(fail)
        client.send(text(b"all the same"))
        assert await peer.message() == b"all the same"

    play(scenario)
    assert "a fault of ours" in caplog.text


# Clients that read slowly.


def test_a_client_that_does_not_read_is_closed_with_4008_when_it_reads_again(play: Play) -> None:
    async def scenario(server: Server) -> None:
        peer, client = await server.connect()
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

    play(scenario)


def test_a_client_that_reads_again_in_time_gets_everything_in_order(play: Play) -> None:
    async def scenario(server: Server) -> None:
        peer, client = await server.connect()
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

    play(scenario)


def test_who_waits_for_a_client_to_read_is_woken_when_it_is_closed(play: Play) -> None:
    async def scenario(server: Server) -> None:
        _, client = await server.connect()
        await server.stall(client, FILLING)
        drained = asyncio.create_task(client.drained())
        await turn()
        client.close(CloseCode.TRY_AGAIN_LATER.close())
        await drained

    play(scenario)


def test_live_values_are_merged_to_the_newest_while_the_client_does_not_read(play: Play) -> None:
    async def scenario(server: Server) -> None:
        peer, client = await server.connect()
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

    play(scenario)


def test_live_values_of_too_many_topics_close_a_slow_client_as_well(play: Play) -> None:
    async def scenario(server: Server) -> None:
        peer, client = await server.connect()
        sent = await server.stall(client, FILLING)
        number = 0
        while not client.closed:
            client.send_live(f"live:{number}", text(b"x" * 1000))
            number += 1
            assert number <= MAX_QUEUED_BYTES // 1000 + 1, "the limit is kept"
        assert await peer.messages(len(sent)) == sent
        assert await peer.frame() == (CLOSE, close_payload(4008, "too slow"))

    play(scenario)


def test_a_slow_client_does_not_delay_the_others(play: Play) -> None:
    async def scenario(server: Server) -> None:
        _, slow = await server.connect()
        peer, fast = await server.connect()
        await server.stall(slow, FILLING)
        for number in range(100):
            payload = b"%d" % number + b"y" * 5000
            write_to_all(server.stats, [slow, fast], batch(payload))
            assert await peer.message() == payload
        assert slow.closed
        assert not fast.closed

    play(scenario)


@on_both_loops
def test_of_all_clients_the_one_furthest_behind_is_closed_first(loop_name: str) -> None:
    async def scenario(server: Server) -> None:
        ends = [await server.connect() for _ in range(4)]
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
    play_on(loop_name, scenario, max_total_bytes=total, max_queued_bytes=2**30)


@on_both_loops
def test_as_many_are_closed_as_the_budget_needs_and_no_more(loop_name: str) -> None:
    async def scenario(server: Server) -> None:
        ends = [await server.connect() for _ in range(6)]
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

    play_on(loop_name, scenario, max_total_bytes=900_000, max_queued_bytes=2**30)


# Batches to many.


class Audience:
    """Clients that are sent random things, and what each of them must get."""

    def __init__(self, server: Server, seed: int) -> None:
        self.random = random.Random(seed)
        self._server = server
        self._count = 0
        self.peers: dict[Client, Peer] = {}
        self.sent: dict[Client, list[tuple[str | None, bytes]]] = {}
        self.got: dict[Client, list[bytes]] = {}

    async def add(self, **options: Any) -> Client:
        peer, client = await self._server.connect(**options)
        self.peers[client], self.sent[client], self.got[client] = peer, [], []
        return client

    def payload(self, size: int) -> bytes:
        """One like no other, down to its last byte."""
        self._count += 1
        return (b"%08d." % self._count) * (1 + size // 9)

    def new_batch(self, clients: list[Client]) -> Batch:
        items = []
        for _ in range(self.random.choice([1, 1, 2, 8])):
            topic = self.random.choice([None, None, None, "live:a", "live:b"])
            size = self.random.choice([1, 200, 3_000, 40_000, 200_000])
            items.append((topic, self.payload(size)))
        for client in clients:
            self.sent[client] += items
        return Batch([text(payload) for _, payload in items], [topic for topic, _ in items])

    def send_to(self, client: Client) -> None:
        item = (None, self.payload(self.random.choice([1, 500, 20_000])))
        self.sent[client].append(item)
        client.send(text(item[1]))

    async def read_until_all_have_all(self) -> None:
        async def read(client: Client) -> None:
            while not self.sent[client] or self.got[client][-1:] != [self.sent[client][-1][1]]:
                message = await self.peers[client].message()
                assert message is not None, "the server has closed"
                self.got[client].append(message)

        await asyncio.gather(*(read(client) for client in self.peers))

    def check(self, client: Client) -> int:
        """Check that nothing is missing, mixed up or out of order; return how much was merged."""
        got, merged = iter(self.got[client]), 0
        sent = self.sent[client]
        newest = {topic: index for index, (topic, _) in enumerate(sent)}
        expected = next(got, None)
        for index, (topic, payload) in enumerate(sent):
            if payload == expected:
                expected = next(got, None)
                continue
            assert topic is not None, f"{payload[:20]!r} is missing or out of order"
            assert index < newest[topic], "the newest value must arrive"
            merged += 1
        assert expected is None, f"{expected[:20]!r} was not sent, or not then"
        return merged


@on_both_loops
@pytest.mark.parametrize("seed", range(3))
def test_batches_reach_everybody_whole_and_in_order_however_slowly_some_read(
    loop_name: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: Counter[str] = Counter()

    def watched_write(fd: int, data: bytes) -> int:
        try:
            size = os.write(fd, data)
        except BlockingIOError:
            taken["nothing"] += 1
            raise
        taken["all" if size == len(data) else "a part"] += 1
        return size

    monkeypatch.setattr(broadcast, "write", watched_write)

    async def scenario(server: Server) -> None:
        audience = Audience(server, seed)
        for number in range(8):
            await audience.add(unix=number % 4 == 3)
        everybody = list(audience.peers)
        stalled = everybody[0]
        for _ in range(150):
            some = audience.random.sample(everybody, audience.random.randint(1, 8))
            if stalled not in some:
                some.append(stalled)
            write_to_all(server.stats, some, audience.new_batch(some))
            if audience.random.random() < 0.5:
                audience.send_to(audience.random.choice(everybody))
            if audience.random.random() < 0.7:
                await turn()
            for client in audience.random.sample(everybody[1:], 5):
                while audience.peers[client].read_now(200_000) and client.queued_bytes:
                    await turn()
            assert server.budget.used_bytes == sum(each.queued_bytes for each in everybody)
        for client in everybody:
            while (frame := await _ready(audience.peers[client])) is not None:
                audience.got[client].append(frame)
        await audience.read_until_all_have_all()
        merged = sum(audience.check(client) for client in everybody)
        assert merged == server.stats.conflated > 0
        handed = sum(map(len, audience.sent.values()))
        assert (accounted(server), server.stats.written) == (handed, handed - merged)
        assert (server.budget.used_bytes, len(server.budget)) == (0, 0)

    play_on(loop_name, scenario, max_queued_bytes=2**30)
    assert min(taken["all"], taken["a part"], taken["nothing"]) > 0, "nothing was put to the test"


async def _ready(peer: Peer) -> bytes | None:
    """A message that was read already."""
    return await peer.message() if peer.has_frames else None


steps = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.sampled_from([1, 300, 2000])),
        st.tuples(st.just("live"), st.sampled_from([1, 300])),
        st.tuples(st.just("batch"), st.sampled_from([1, 300, 2000])),
        st.tuples(st.just("fill"), st.just(300)),
        st.tuples(st.just("ping"), st.just(0)),
        st.tuples(st.just("turn"), st.just(0)),
        st.tuples(st.just("read"), st.sampled_from([1000, 100_000])),
    ),
    max_size=40,
)


@on_both_loops
@settings(max_examples=150, deadline=None)
@given(steps=steps)
def test_whatever_happens_in_whatever_order_each_frame_is_whole_and_in_its_place(
    loop_name: str, steps: list[tuple[str, int]]
) -> None:
    """On a Unix socket, which is often exactly full, so that a pong may be what fills the rest."""

    async def scenario(server: Server) -> None:
        audience = Audience(server, 0)
        client = await audience.add(unix=True)
        pings = 0
        for step, size in steps:
            if step == "send":
                item = (None, audience.payload(size))
                audience.sent[client].append(item)
                client.send(text(item[1]))
            elif step == "live":
                audience.sent[client].append(("live:a", audience.payload(size)))
                client.send_live("live:a", text(audience.sent[client][-1][1]))
            elif step in ("batch", "fill"):
                while True:
                    audience.sent[client].append((None, audience.payload(size)))
                    payload = audience.sent[client][-1][1]
                    write_to_all(server.stats, [client], batch(payload))
                    if step == "batch" or client.waiting or client.queued_bytes:
                        break
            elif step == "ping":
                pings += 1
                # As if the client's ping was what the loop has read in this turn.
                client.data_received(b"\x89\x80\0\0\0\0")
            elif step == "turn":
                await asyncio.sleep(0)
            else:
                audience.peers[client].read_now(size)
        audience.sent[client].append((None, b"the end"))
        client.send(text(b"the end"))
        pongs = 0
        while audience.got[client][-1:] != [b"the end"]:
            frame = await audience.peers[client].frame()
            assert frame is not None
            if frame == (PONG, b""):
                pongs += 1
            else:
                assert frame[0] == TEXT
                audience.got[client].append(frame[1])
        merged = audience.check(client)
        assert merged == server.stats.conflated
        assert accounted(server) == len(audience.sent[client])
        assert pongs <= pings

    play_on(loop_name, scenario, max_queued_bytes=2**30)


def test_a_pong_that_finds_the_socket_full_lets_nothing_overtake_what_is_to_be_written(
    play: Play,
) -> None:
    async def scenario(server: Server) -> None:
        _, measured = await server.connect(unix=True)
        room = 0
        while not measured.queued_bytes:
            write_to_all(server.stats, [measured], batch(b"%06d" % room))
            room += 1
        peer, client = await server.connect(unix=True)
        sent = [b"%06d" % number for number in range(room - 1)]
        for payload in sent:
            write_to_all(server.stats, [client], batch(payload))
        assert client.queued_bytes == 0, "as full as can be, and nobody knows"
        client.send(text(b"a reply"))
        client.data_received(b"\x89\x80\0\0\0\0")
        assert client.queued_bytes > 0, "the pong was too much"
        client.send(text(b"behind it"))
        sent += [b"a reply", b"behind it"]
        peer.read_now(2**20)
        for number in range(5):
            sent.append(b"a batch %d" % number)
            write_to_all(server.stats, [client], batch(sent[-1]))
            await asyncio.sleep(0)
        came: list[bytes] = []
        while len(came) < len(sent):
            frame = await peer.frame()
            assert frame is not None
            if frame[0] == TEXT:
                came.append(frame[1])
        assert came == sent

    play(scenario)


def test_the_same_batch_reaches_who_compresses_and_who_does_not(play: Play) -> None:
    async def scenario(server: Server) -> None:
        plain_peer, plain = await server.connect()
        small_peer, small = await server.connect(compresses=True)
        payloads = [b"short", b"long " * 200, b"long " * 201]
        sent = batch(*payloads)
        for _ in range(2):
            write_to_all(server.stats, [plain, small], sent)
            assert await plain_peer.messages(3) == payloads
            frames = [await small_peer.frame() for _ in payloads]
            assert [frame and frame[0] for frame in frames] == [TEXT, TEXT | 0x40, TEXT | 0x40]
            assert [_inflated(frame) for frame in frames] == payloads
        small.send(text(payloads[1]))
        assert _inflated(await small_peer.frame()) == payloads[1]
        sent_large = batch(*[b"%06d" % number * 20_000 for number in range(4)])
        write_to_all(server.stats, [small], sent_large)
        frames = [await small_peer.frame() for _ in range(4)]
        assert [_inflated(frame) for frame in frames] == [
            b"%06d" % number * 20_000 for number in range(4)
        ]

    play(scenario)


def _inflated(frame: tuple[int, bytes] | None) -> bytes:
    assert frame is not None
    if not frame[0] & 0x40:
        return frame[1]
    return zlib.decompressobj(-15).decompress(frame[1] + b"\0\0\xff\xff")


# The end.


def test_close_goes_out_behind_what_was_sent_before(play: Play) -> None:
    async def scenario(server: Server) -> None:
        peer, client = await server.connect()
        client.send(text(b"last words"))
        client.close(CloseCode.TOKEN_EXPIRED.close())
        client.close(CloseCode.TRY_AGAIN_LATER.close())
        client.send(text(b"too late"))
        write_to_all(server.stats, [client], batch(b"too", b"late"))
        assert await peer.frame() == (TEXT, b"last words")
        assert await peer.frame() == (CLOSE, close_payload(4001, "token expired"))
        await peer.send(TEXT, b"not heard")
        await peer.send(CLOSE, close_payload(4001))
        assert await peer.to_the_end() == []
        await server.until(lambda: server.departed == [client])
        assert server.received_messages == []
        assert server.stats.closed == {4001: 1}
        assert (server.stats.written, server.stats.disconnected) == (1, 3)
        assert server.connections == set()

    play(scenario)


def test_what_waits_for_a_full_transport_is_given_up_when_the_client_is_closed(play: Play) -> None:
    async def scenario(server: Server) -> None:
        peer, client = await server.connect()
        sent = await server.stall(client, FILLING)
        client.send(text(b"waits"))
        client.close(CloseCode.TRY_AGAIN_LATER.close())
        assert await peer.messages(len(sent)) == sent
        assert await peer.frame() == (CLOSE, close_payload(*CloseCode.TRY_AGAIN_LATER.close()))
        assert accounted(server) == len(sent) + 1
        assert server.stats.disconnected == 1

    play(scenario)


def test_a_server_that_stops_says_1001_once(play: Play) -> None:
    async def scenario(server: Server) -> None:
        peer, client = await server.connect()
        client.shutdown()
        client.shutdown()
        assert await peer.frame() == (CLOSE, close_payload(1001, "edge is shutting down"))
        await peer.send(CLOSE, close_payload(1001))
        assert await peer.to_the_end() == []
        assert server.stats.closed == {1001: 1}

    play(scenario)


@on_both_loops
@pytest.mark.parametrize("state", ["well", "stalled", "broken", "stalled and broken"])
def test_who_does_not_answer_a_close_is_cut_off(loop_name: str, state: str) -> None:
    async def scenario(server: Server) -> None:
        peer, client = await server.connect()
        if "stalled" in state:
            await server.stall(client, FILLING)
        if "broken" in state:
            await peer.send_raw(NO_MASK)
        else:
            client.close(CloseCode.TOKEN_EXPIRED.close())
        await server.until(lambda: server.departed == [client])
        assert server.connections == set()

    play_on(loop_name, scenario, close_timeout_s=0.05)


@pytest.mark.parametrize(
    ("payload", "answer"),
    [
        (b"", b""),
        (close_payload(1000), close_payload(1000)),
        (close_payload(4999, "ich geh’ dann"), close_payload(4999, "ich geh’ dann")),
        (close_payload(1000, "x" * 123), close_payload(1000, "x" * 123)),
        (b"\x03", close_payload(1002, "bad close code")),
        (close_payload(1005), close_payload(1002, "bad close code")),
        (close_payload(1000) + b"\xff", close_payload(1007, "bad UTF-8")),
    ],
)
def test_a_close_of_the_client_is_answered_with_its_code(
    play: Play, payload: bytes, answer: bytes
) -> None:
    async def scenario(server: Server) -> None:
        peer, client = await server.connect()
        client.send(text(b"before"))
        await peer.send_raw(b"\x88" + bytes([0x80 | len(payload)]) + b"\0\0\0\0" + payload)
        assert await peer.to_the_end() == [(TEXT, b"before"), (CLOSE, answer)]
        await server.until(lambda: server.departed == [client])
        assert client.closed
        assert server.stats.closed == {}, "it was not the edge that closed"
        assert server.received_messages == []

    play(scenario)


@pytest.mark.parametrize(
    ("broken", "code", "reason"),
    [
        (NO_MASK, 1002, "unmasked frame"),
        (b"\xc1\x80\0\0\0\0", 1002, "reserved bits"),
        (b"\x81\xff" + (2**40).to_bytes(8) + b"\0\0\0\0", 1009, "message too large"),
    ],
)
def test_who_breaks_the_rules_is_told_behind_what_was_sent_before(
    play: Play, broken: bytes, code: int, reason: str
) -> None:
    async def scenario(server: Server) -> None:
        peer, client = await server.connect()
        await peer.send(TEXT, b"still well")
        await server.until(lambda: bool(server.received_messages))
        client.send(text(b"before"))
        await peer.send_raw(broken)
        assert await peer.to_the_end() == [(TEXT, b"before"), (CLOSE, close_payload(code, reason))]
        assert server.departed == [], "the reason must not be lost with a reset"
        client.send(text(b"too late"))
        client.check_alive()
        client.shutdown()
        peer.hang_up()
        await server.until(lambda: server.departed == [client])
        assert server.stats.closed == {code: 1}
        assert server.received_messages == [Message(Opcode.TEXT, b"still well")]

    play(scenario)


def test_who_sends_more_than_it_may_is_told_though_it_goes_on(play: Play) -> None:
    async def scenario(server: Server) -> None:
        peer, client = await server.connect()
        rest = asyncio.create_task(peer.send_raw(client_frame(TEXT, b"x" * 8_000_000)))
        assert await peer.frame() == (CLOSE, close_payload(1009, "message too large"))
        await rest
        assert await peer.to_the_end() == []
        peer.hang_up()
        await server.until(lambda: server.departed == [client])
        assert server.received_messages == []

    play(scenario)


def test_a_client_that_vanishes_harms_nobody_else(play: Play) -> None:
    async def scenario(server: Server) -> None:
        peer, client = await server.connect()
        stalled_peer, stalled = await server.connect()
        vanishing_peer, vanishing = await server.connect()
        everybody = [client, stalled, vanishing]
        await server.stall(stalled, FILLING)
        handed = server.stats.written
        payloads = [b"%d" % number + b"z" * 3000 for number in range(30)]
        for number, payload in enumerate(payloads):
            if number == 10:
                vanishing_peer.reset()
            if number == 20:
                stalled_peer.reset()
            write_to_all(server.stats, everybody, batch(payload))
            vanishing.send(text(payload))
            handed += 4
            assert await peer.message() == payload
            assert accounted(server) == handed
        await server.until(lambda: len(server.departed) == 2)
        assert set(server.departed) == {stalled, vanishing}
        assert server.stats.disconnected > 0
        assert (server.budget.used_bytes, len(server.budget)) == (0, 0)
        write_to_all(server.stats, everybody, batch(b"and on"))
        assert await peer.message() == b"and on"
        assert accounted(server) == handed + 3

    play(scenario)


# Pings.


def test_pings_are_answered_between_the_frames(play: Play) -> None:
    async def scenario(server: Server) -> None:
        peer, client = await server.connect()
        await peer.send(0x89, b"are you there?")
        assert await peer.frame() == (PONG, b"are you there?")
        sent = await server.stall(client, FILLING)
        await peer.send(0x89, b"and now?")
        await server.until(lambda: server.frames_heard == 2)
        frames = [await peer.frame() for _ in range(len(sent) + 1)]
        assert sorted(frames, key=lambda frame: frame != (PONG, b"and now?"))[1:] == [
            (TEXT, payload) for payload in sent
        ]
        assert server.received_messages == []

    play(scenario)


def test_a_ping_between_fragments_is_answered_before_the_message_is_there(play: Play) -> None:
    async def scenario(server: Server) -> None:
        peer, _ = await server.connect()
        await peer.send(FRAGMENT, b"one ")
        await peer.send(0x89, b"!")
        assert await peer.frame() == (PONG, b"!")
        await peer.send(0x80, b"message")
        await server.until(lambda: bool(server.received_messages))
        assert server.received_messages == [Message(Opcode.TEXT, b"one message")]

    play(scenario)


def test_who_answers_no_ping_is_cut_off_with_the_next(play: Play) -> None:
    async def scenario(server: Server) -> None:
        peer, client = await server.connect()
        client.check_alive()
        await turn()
        assert server.stats.closed == {}
        client.check_alive()
        await server.until(lambda: server.departed == [client])
        assert await peer.to_the_end() == [
            (0x89, PING[2:]),
            (CLOSE, close_payload(1011, "keepalive ping timeout")),
        ]
        assert server.stats.closed == {1011: 1}

    play(scenario)


@pytest.mark.parametrize("first", [PONG, TEXT, FRAGMENT])
def test_whoever_is_heard_of_is_alive(play: Play, first: int) -> None:
    async def scenario(server: Server) -> None:
        peer, client = await server.connect()
        for _ in range(3):
            client.check_alive()
            assert await peer.frame() == (0x89, PING[2:])
            await peer.send(first, b"relay")
            if first == FRAGMENT:
                await peer.send(0x80, b"")
            await peer.send(0x89, b"that was it")
            assert await peer.frame() == (PONG, b"that was it")
        assert not client.closed

    play(scenario)


def test_who_sends_too_many_frames_is_not_even_read_any_more() -> None:
    async def scenario(server: Server) -> None:
        server.most_frames = 1000
        peer, client = await server.connect()
        with contextlib.suppress(ConnectionError):
            await peer.send_raw(b"\x8a\x80\0\0\0\0" * 50_000)
        assert await peer.to_the_end() == [(CLOSE, close_payload(4029, "too many messages"))]
        assert client.closed
        assert server.frames_heard == 1001
        assert server.received_messages == []

    for loop in LOOPS:
        play_on(loop, scenario, close_timeout_s=0.2)


def test_of_many_pings_only_the_newest_is_answered_once_the_client_reads(play: Play) -> None:
    async def scenario(server: Server) -> None:
        peer, client = await server.connect()
        await server.stall(client, FILLING)
        held = client.queued_bytes
        for number in range(5000):
            client.data_received(client_frame(0x89, b"%d" % number))
        assert client.queued_bytes == held, "nothing is kept of pings"
        client.send(text(b"the last"))
        pongs = []
        while True:
            frame = await peer.frame()
            assert frame is not None
            if frame[0] == PONG:
                pongs.append(frame[1])
                break
        assert pongs == [b"4999"]

    play(scenario)


def test_reading_goes_on_when_it_was_resumed_as_often_as_paused(play: Play) -> None:
    async def scenario(server: Server) -> None:
        peer, client = await server.connect()
        client.pause_reading()
        client.pause_reading()
        await peer.send(TEXT, b"in vain?")
        await asyncio.sleep(0.05)
        client.resume_reading()
        await asyncio.sleep(0.05)
        assert server.received_messages == []
        client.resume_reading()
        await server.until(lambda: bool(server.received_messages))

    play(scenario)
