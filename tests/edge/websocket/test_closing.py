"""How connections end, on real sockets."""

import asyncio

import pytest

from edge.core.websocket.close_codes import CloseCode
from edge.core.websocket.frames import Opcode
from edge.core.websocket.reader import Message
from edge.websocket.broadcast import write_to_all
from tests.edge.websocket.stage import (
    FILLING,
    NO_MASK,
    Play,
    accounted,
    batch,
    close_payload,
    on_both_loops,
    play_on,
)
from tests.edge.wire import Server, text
from tests.support.websocket_frames import CLOSE, TEXT, client_frame


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


def test_queued_frames_are_given_up_when_the_client_is_closed(play: Play) -> None:
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
def test_a_client_that_does_not_answer_a_close_is_cut_off(loop_name: str, state: str) -> None:
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
def test_a_violation_is_answered_behind_the_frames_sent_before(
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


def test_a_message_that_is_too_large_is_answered_though_the_client_goes_on(play: Play) -> None:
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
