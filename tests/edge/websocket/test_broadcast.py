"""Batches to many clients on real sockets, among them some that do not read."""

import asyncio
import os
import random
import zlib
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.core.hub.audience import FrameBatch
from edge.websocket import broadcast
from edge.websocket.broadcast import write_to_all
from edge.websocket.client import Client
from tests.edge.websocket.stage import (
    Play,
    accounted,
    batch,
    on_both_loops,
    play_on,
)
from tests.edge.wire import Peer, Server, text, turn
from tests.support.websocket_frames import PONG, TEXT


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

    def new_batch(self, clients: list[Client]) -> FrameBatch:
        items = []
        for _ in range(self.random.choice([1, 1, 2, 8])):
            topic = self.random.choice([None, None, None, "live:a", "live:b"])
            size = self.random.choice([1, 200, 3_000, 40_000, 200_000])
            items.append((topic, self.payload(size)))
        for client in clients:
            self.sent[client] += items
        return FrameBatch([text(payload) for _, payload in items], [topic for topic, _ in items])

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
def test_in_any_order_of_events_each_frame_is_whole_and_in_its_place(
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


def test_no_frame_overtakes_a_pong_that_finds_the_socket_full(
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


def test_the_same_batch_reaches_clients_with_and_without_compression(play: Play) -> None:
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
