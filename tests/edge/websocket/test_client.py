"""`Client` on real sockets: writing, pings and reading."""

import contextlib
from collections.abc import Callable

import pytest

from edge.core.websocket.frames import Opcode
from edge.core.websocket.reader import Message
from edge.core.websocket.server_protocol import PING
from edge.websocket.broadcast import write_to_all
from tests.edge.websocket.stage import (
    FILLING,
    FRAGMENT,
    LOOPS,
    Play,
    accounted,
    batch,
    close_payload,
    play_on,
)
from tests.edge.wire import Server, text, turn
from tests.support.websocket_frames import CLOSE, PONG, TEXT, client_frame


def test_frames_of_one_turn_go_out_in_one_write_in_order(play: Play) -> None:
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


def test_a_fault_with_one_connection_does_not_stop_the_writes_to_the_others(
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


def test_a_client_that_answers_no_ping_is_cut_off_with_the_next(play: Play) -> None:
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


def test_a_client_that_is_not_read_is_not_to_blame_for_its_silence(play: Play) -> None:
    """An application may take its time for a message; what the client sends meanwhile waits."""

    async def scenario(server: Server) -> None:
        peer, client = await server.connect()
        client.pause_reading()
        for _ in range(3):
            client.check_alive()
        client.resume_reading()
        client.check_alive()
        assert not client.closed
        assert [await peer.frame() for _ in range(4)] == [(0x89, PING[2:])] * 4

    play(scenario)


@pytest.mark.parametrize("first", [PONG, TEXT, FRAGMENT])
def test_any_frame_shows_that_the_client_is_alive(play: Play, first: int) -> None:
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


def test_a_client_that_sends_too_many_frames_is_not_read_any_more() -> None:
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


def test_frames_are_acted_on_in_turns_and_nothing_is_read_meanwhile(play: Play) -> None:
    async def scenario(server: Server) -> None:
        line: list[Callable[[], None]] = []
        server.line = line
        peer, client = await server.connect()
        received = server.received_messages
        fragments = client_frame(FRAGMENT, b"2 ") + client_frame(0x80, b"parts")
        await peer.send_raw(client_frame(TEXT, b"1") + fragments + client_frame(0x89, b"!"))
        await server.until(lambda: len(line) == 1)
        await peer.send(TEXT, b"last")
        heard = server.bytes_heard
        for frames in range(4):
            assert (server.frames_heard, len(line), server.bytes_heard) == (frames, 1, heard)
            line.pop()()
            await turn()
        assert [message.payload for message in received] == [b"1", b"2 parts"]
        assert await peer.frame() == (PONG, b"!")
        await server.until(lambda: len(line) == 1)
        line.pop()()
        assert received[-1].payload == b"last"
        assert not client.closed

    play(scenario)


def test_a_turn_of_a_client_that_is_paused_is_left_out(play: Play) -> None:
    async def scenario(server: Server) -> None:
        line: list[Callable[[], None]] = []
        server.line = line
        peer, client = await server.connect()
        await peer.send_raw(client_frame(TEXT, b"1") + client_frame(TEXT, b"2"))
        await server.until(lambda: len(line) == 1)
        client.pause_reading()
        line.pop()()
        assert (server.received_messages, line) == ([], [])
        client.resume_reading()
        server.line = None
        line.pop()()
        assert [message.payload for message in server.received_messages] == [b"1", b"2"]
        await peer.send(TEXT, b"3")
        await server.until(lambda: len(server.received_messages) == 3)

    play(scenario)


def test_a_fault_of_ours_closes_the_client_and_keeps_nothing(play: Play) -> None:
    async def scenario(server: Server) -> None:
        line: list[Callable[[], None]] = []
        server.line = line
        peer, client = await server.connect()
        server.fault = RuntimeError("a fault of ours")
        await peer.send_raw(client_frame(TEXT, b"1") + client_frame(TEXT, b"2"))
        await server.until(lambda: len(line) == 1)
        with pytest.raises(RuntimeError, match="a fault of ours"):
            line.pop()()
        assert await peer.frame() == (CLOSE, close_payload(1011, "internal error"))
        server.line = None
        await peer.send(CLOSE, close_payload(1011))
        await server.until(lambda: server.departed == [client])

    play(scenario)


def test_who_breaks_the_rules_behind_a_turn_may_still_hang_up(play: Play) -> None:
    async def scenario(server: Server) -> None:
        line: list[Callable[[], None]] = []
        server.line = line
        peer, client = await server.connect()
        await peer.send_raw(client_frame(0x8B, b"an unknown opcode"))
        await server.until(lambda: len(line) == 1)
        line.pop()()
        assert await peer.frame() == (CLOSE, close_payload(1002, "unknown opcode"))
        assert client.closed
        peer.hang_up()
        await server.until(lambda: server.departed == [client])

    for loop in LOOPS:
        play_on(loop, scenario, close_timeout_s=60.0)


def test_frames_of_a_connection_that_is_lost_meanwhile_are_dropped(play: Play) -> None:
    async def scenario(server: Server) -> None:
        line: list[Callable[[], None]] = []
        server.line = line
        peer, client = await server.connect()
        await peer.send(TEXT, b"1")
        await server.until(lambda: len(line) == 1)
        client.abort()
        await server.until(lambda: server.departed == [client])
        line.pop()()
        assert server.received_messages == []

    play(scenario)


def test_reading_goes_on_when_it_was_resumed_as_often_as_paused(play: Play) -> None:
    async def scenario(server: Server) -> None:
        peer, client = await server.connect()
        other, _ = await server.connect()
        received = server.received_messages
        client.pause_reading()
        client.pause_reading()
        await peer.send(TEXT, b"paused")
        # Sent later and received: by then the loop has looked at both sockets.
        await other.send(TEXT, b"first")
        await server.until(lambda: len(received) == 1)
        client.resume_reading()
        await other.send(TEXT, b"second")
        await server.until(lambda: len(received) == 2)
        assert [message.payload for message in received] == [b"first", b"second"]
        client.resume_reading()
        await server.until(lambda: len(received) == 3)
        assert received[2].payload == b"paused"

    play(scenario)
