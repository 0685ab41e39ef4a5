"""A journaled event as the edge holds it."""

import json
from collections import Counter

import pytest

from edge.core.streams.record import RECORD_OVERHEAD_BYTES, Record, unreadable_record
from edge.core.websocket.frames import frame_payload
from relay.wire.errors import WireError
from relay.wire.topics import parse_topic
from tests.edge.journal import record


def test_it_is_decoded_once_and_then_known() -> None:
    event = record(7, username="alice")
    counts: Counter[str] = Counter()
    frame = event.read(counts)
    event.payload = b"broken"
    assert event.read(counts) is frame
    assert json.loads(frame_payload(frame))["offset"] == 7
    assert (event.addressed_to, event.frame, counts) == ("alice", frame, Counter())


def test_one_that_is_malformed_is_counted_once_and_has_no_frame() -> None:
    event = Record(parse_topic("event:a"), 7, 0, b"broken")
    counts: Counter[str] = Counter()
    assert [event.read(counts) for _ in range(3)] == [b"", b"", b""]
    assert counts == {"invalid_envelope": 1}
    with pytest.raises(WireError):
        event.open()


def test_one_that_could_not_be_taken_apart_has_a_place_and_nothing_else() -> None:
    event = unreadable_record("event", 7)
    counts: Counter[str] = Counter()
    assert (event.offset, event.read(counts), counts) == (7, b"", Counter())


def test_its_cost_includes_the_frame_that_it_may_get() -> None:
    event = record(7, size=10_000)
    assert event.cost == RECORD_OVERHEAD_BYTES + 2 * len(event.payload)
    assert len(event.payload) + len(event.read(Counter())) < event.cost
