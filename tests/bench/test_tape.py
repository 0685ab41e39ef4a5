"""The checker finds each fault, and none in a right sequence."""

import random
from collections.abc import Iterable, Sequence

import orjson
import pytest

from bench.load.dialect import Dialect
from bench.load.frames import Message
from bench.load.payload import event_text
from bench.load.tape import Reader, Tape, arrivals_by_event
from bench.peers.event_relay import EdgeDialect
from tests.support.websocket_frames import PING, TEXT

DIALECT: Dialect = EdgeDialect(0, (), (("event:bench",),))
POSITION = orjson.dumps({"type": "position", "epoch": 1, "position": {"event": 7}})


def server_frame(first: int, payload: bytes) -> bytes:
    """Return a frame as servers send it: without a mask."""
    size = len(payload)
    head = bytes((first, size)) if size < 126 else bytes((first, 126)) + size.to_bytes(2)
    return head + payload


def frames(numbers: Iterable[int]) -> list[bytes]:
    return [server_frame(TEXT, event_text(number)) for number in numbers]


def reader_with_tape(events: Sequence[bytes]) -> Reader:
    """Return a client that follows another one that has received `events`."""
    tape = Tape()
    first = Reader(tape, DIALECT)
    first.take(b"".join(events))
    assert (first.fault, first.received) == (None, len(events))
    return Reader(tape, DIALECT)


def test_a_right_stream_is_right_however_it_is_cut_and_whatever_lies_between() -> None:
    chance = random.Random(7)
    events = frames(range(200))
    reader = reader_with_tape(events[:120])  # and so is ahead of the others from there on
    stream = b""
    between = 0
    for event in events:
        if chance.random() < 0.2:
            stream += server_frame(*chance.choice(((PING, b"are you there"), (TEXT, POSITION))))
            between += 1
        stream += event
    others: list[Message] = []
    while stream:
        size = chance.choice((1, 2, 3, 100, 1000))
        others += reader.take(stream[:size])
        stream = stream[size:]
    assert (reader.fault, reader.received, len(others)) == (None, 200, between)


def test_chunks_that_are_on_the_tape_are_taken_without_being_parsed() -> None:
    events = frames(range(50))
    reader = reader_with_tape(events)
    stream = b"".join(events)
    reader.take(stream[:1000])
    assert (reader.position, reader.received) == (1000, 1000 // len(events[0]))


@pytest.mark.parametrize(
    ("order", "fault"),
    [
        ((0, 1, 3), "event 3 came instead of 2"),
        ((0, 1, 1, 2), "event 1 came instead of 2"),
        ((0, 2, 1), "event 2 came instead of 1"),
        ((1, 2, 3), "event 1 came instead of 0"),
    ],
    ids=["missing", "repeated", "reordered", "late"],
)
@pytest.mark.parametrize("known", [True, False], ids=["known", "new"])
def test_a_wrong_stream_is_seen(order: Sequence[int], fault: str, known: bool) -> None:
    events = frames(range(4))
    reader = reader_with_tape(events if known else ())
    reader.take(b"".join(events[number] for number in order))
    assert reader.fault == fault
    assert reader.received == len(order)
    assert reader.reached == order[-1] + 1


def test_an_event_that_differs_from_what_others_got_is_seen() -> None:
    events = frames(range(4))
    reader = reader_with_tape(events)
    reader.take(events[0] + events[1].replace(b'"source":"bench"', b'"source":"BENCH"'))
    assert reader.fault is not None
    assert "event 1 differs" in reader.fault


@pytest.mark.parametrize("spoilt", [b'"n":"0000000x"', b'"n":""', b'"m":"00000001"'])
def test_an_event_that_cannot_be_read_is_seen(spoilt: bytes) -> None:
    reader = reader_with_tape(())
    [event] = frames([1])
    reader.take(b"".join(frames([0])))
    reader.take(server_frame(TEXT, event[4:].replace(b'"n":"00000001"', spoilt)))
    assert reader.fault is not None
    assert "cannot be read" in reader.fault
    assert reader.received == 1


def test_what_one_client_got_wrong_does_not_harm_the_others() -> None:
    events = frames(range(4))
    tape = Tape()
    wrong, right = Reader(tape, DIALECT), Reader(tape, DIALECT)
    wrong.take(events[1])
    right.take(b"".join(events))
    assert (right.fault, right.received) == (None, 4)


def test_a_group_expects_every_so_manieth_event() -> None:
    tape = Tape(first=3, stride=10)
    reader = Reader(tape, DIALECT)
    reader.take(b"".join(frames((3, 13, 23))))
    assert (reader.fault, reader.received) == (None, 3)
    assert [tape.expected(published) for published in (3, 4, 13, 14, 24)] == [0, 1, 1, 2, 3]


def test_an_event_has_arrived_when_its_last_byte_has() -> None:
    events = frames(range(4))
    reader = reader_with_tape(events)
    end = len(events[0])
    arrivals = (10, end - 1, 20, end, 30, 3 * end + 1, 40, 4 * end)
    assert list(arrivals_by_event(reader, arrivals)) == [(0, 20), (1, 30), (2, 30), (3, 40)]
