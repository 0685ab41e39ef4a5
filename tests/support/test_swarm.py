"""The swarm's frames are right, and its records request exactly the missing events."""

import asyncio
import socket

import pytest
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

from edge.core.websocket.frames import text_frame
from tests.support.swarm import Swarm
from tests.support.swarm_client import SwarmClient
from tests.support.swarm_record import Record, payload_key, split_key
from tests.support.waiting import wait_for
from tests.support.websocket_frames import TEXT, client_frame, split_frames

EPOCH = 17


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536])
def test_frames_of_every_length_are_split(size: int) -> None:
    payload = b"x" * size
    stream = text_frame(payload) + text_frame(b"next") + b"\x81"
    assert split_frames(stream) == ([(TEXT, payload), (TEXT, b"next")], b"\x81")


def test_a_frame_waits_until_it_is_complete() -> None:
    for size in (4, 200, 70_000):
        whole = text_frame(b"x" * size)
        for end in range(min(len(whole), 300)):
            assert split_frames(whole[:end]) == ([], whole[:end])


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536])
def test_a_clients_frame_is_read_by_a_server(size: int) -> None:
    server = ServerProtocol(state=State.OPEN)
    server.receive_data(client_frame(TEXT, b"x" * size))
    [frame] = server.events_received()
    assert isinstance(frame, Frame)
    assert (frame.opcode, frame.data) == (Opcode.TEXT, b"x" * size)


def test_a_key_holds_run_and_number() -> None:
    assert split_key(payload_key(3001, 2**39)) == (3001, 2**39)


def event(offset: int, topic: str = "event:a", **fields: object) -> dict[str, object]:
    return {
        "type": "event",
        "topic": topic,
        "offset": offset,
        "data": {"run": 1, "n": offset},
    } | fields


def reply(number: int, **fields: object) -> dict[str, object]:
    return {"status": "success", "id": number, "epoch": EPOCH} | fields


def test_the_first_connection_asks_for_nothing_that_is_past() -> None:
    record = Record(("event:a", "event:b*"), personal_position=0)
    assert record.query() == ""
    assert record.begin_connection() == [
        {"action": "subscribe", "topic": "event:a", "id": 0},
        {"action": "subscribe", "topic": "event:b*", "id": 1},
    ]


def test_the_next_connection_resumes_all_as_one() -> None:
    record = Record(("event:a", "event:b*"), personal_position=0)
    record.begin_connection()
    record.take(reply(0, position={"event": 40}))
    assert record.replies == 1
    record.take(reply(1, position={"event": 42}))
    assert record.is_settled
    record.take(event(43))
    record.take(event(7, "task:x"))
    record.take(event(5, "event:a", stream="addressed"))
    assert record.query() == f"&epoch={EPOCH}&task=7&addressed=5"
    since = {"event": 43, "task": 7, "addressed": 5}
    assert record.begin_connection() == [
        {
            "action": "subscribe",
            "topic": "event:a",
            "id": 0,
            "since": since,
            "epoch": EPOCH,
            "more": True,
        },
        {"action": "subscribe", "topic": "event:b*", "id": 1, "since": since, "epoch": EPOCH},
    ]
    assert record.replies == 0
    assert record.starts == {"event:a": {"event": 40}, "event:b*": {"event": 42}}


def test_a_subscription_that_was_never_answered_begins_where_it_resumed() -> None:
    record = Record(("event:a", "event:b"), personal_position=0)
    record.begin_connection()
    record.take(reply(0, position={"event": 40}))
    record.begin_connection()
    record.take(reply(0, position={"event": 50}, recovered=True))
    record.take(reply(1, position={"event": 50}, recovered=True))
    assert record.starts == {"event:a": {"event": 40}, "event:b": {"event": 40}}
    assert record.errors == []


def test_a_position_moves_on_where_nothing_is_for_the_client() -> None:
    record = Record(("event:a",), personal_position=0)
    record.take({"type": "position", "epoch": EPOCH, "position": {"event": 9, "task": 3}})
    assert record.positions == {"event": 9, "task": 3, "addressed": 0}
    assert len(record) == 0


def test_states_shown_on_connect_are_not_events() -> None:
    record = Record((), personal_position=0)
    record.take(event(7, "task:x", retained=True))
    assert len(record) == 0
    assert record.retained == 1
    assert record.positions == {"task": 0, "addressed": 0}


def test_a_client_without_a_place_gets_what_is_for_its_user_from_the_first_position_on() -> None:
    record = Record(())
    assert record.personal_starts == {}
    record.take({"type": "position", "epoch": EPOCH, "position": {"task": 3, "addressed": 5}})
    record.take({"type": "position", "epoch": EPOCH, "position": {"task": 4, "addressed": 6}})
    assert record.personal_starts == {"task": 3, "addressed": 5}
    assert record.query() == f"&epoch={EPOCH}&task=4&addressed=6"


def test_a_resume_that_is_not_answered_as_one_is_noticed() -> None:
    record = Record(("event:a",), personal_position=0)
    record.begin_connection()
    record.take(reply(0, position={"event": 40}))
    record.begin_connection()
    record.take(reply(0, position={"event": 41}))
    assert "does not say `recovered`" in record.errors[0]


def test_a_connection_that_is_cut_before_the_handshake_is_answered_counts_as_cut() -> None:
    """The edge may answer it all the same, and count the frames that nobody reads."""

    async def scenario() -> None:
        requested = asyncio.Event()

        async def take_request(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            requested.set()

        server = await asyncio.start_server(take_request, "127.0.0.1", 0)
        async with asyncio.timeout(20), server as silent:
            port = silent.sockets[0].getsockname()[1]
            client = SwarmClient("c", port, "token", Record(("event:a",)))
            running = asyncio.create_task(client.run())
            await requested.wait()
            client.leave()
            await running
        assert client.connections == 0
        assert [(account.frames, account.is_whole) for account in client.accounts] == [(0, False)]

    asyncio.run(scenario())


def test_a_client_that_moves_while_it_connects_does_not_stay_behind() -> None:
    async def scenario() -> None:
        ports: asyncio.Queue[int] = asyncio.Queue()

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            ports.put_nowait(writer.get_extra_info("sockname")[1])
            await reader.read()
            writer.close()

        servers = [await asyncio.start_server(accept, "127.0.0.1", 0) for _ in range(2)]
        first, second = (server.sockets[0].getsockname()[1] for server in servers)
        client = SwarmClient("c", first, "token", Record(("event:a",)))
        running = asyncio.create_task(client.run())
        await asyncio.sleep(0)
        client.move(second)
        assert [await ports.get(), await ports.get()] == [first, second]
        client.leave()
        await running
        for server in servers:
            server.close()

    asyncio.run(asyncio.wait_for(scenario(), 30))


def test_a_client_that_does_not_read_is_known_to_be_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = SwarmClient("client-1", server.getsockname()[1], "token", Record(()))
        swarm = Swarm()
        swarm.add([client])
        try:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                swarm.call(client.stop_reading)
                assert not client.is_given_up
            wait_for(lambda: client.is_given_up, "the end has arrived")
        finally:
            swarm.close()
