"""A journaled event as the edge holds it."""

import json
from collections import Counter
from collections.abc import Callable

import pytest

from edge.core.streams.record import (
    RECORD_OVERHEAD_BYTES,
    LostRecord,
    Record,
    read_items,
    unreadable_record,
)
from edge.core.websocket.frames import frame_payload
from relay.wire.errors import WireError
from relay.wire.topics import parse_topic
from tests.edge.journal import record
from tests.edge.relay_words import frames


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


@pytest.mark.parametrize("make", [unreadable_record, LostRecord])
def test_one_that_could_not_be_taken_apart_has_a_place_and_nothing_else(
    make: Callable[[str, int], Record],
) -> None:
    event = make("event", 7)
    counts: Counter[str] = Counter()
    assert (event.offset, event.read(counts), counts) == (7, b"", Counter())
    assert (event.topic.kind, event.relayed_at, event.checksum) == ("event", 0, None)


def test_a_replay_is_read_up_to_a_place_that_is_unreadable() -> None:
    """Events behind it would have no offset, or leave a hole."""
    item = frames("event:a", 11)
    items = [item, (b"", *item[1:]), (b"\xff", *item[1:]), (item[0], b"?", item[2]), item]
    counts: Counter[str] = Counter()
    causes: list[str] = []
    records = read_items("event", items, counts, lambda cause, *_: causes.append(cause))
    assert [(each.offset, each.is_lost, each.topic.text) for each in records] == [
        (11, False, "event:a"),
        (11, True, ""),
        (11, False, ""),
    ]
    assert counts == {"invalid_frame": 1}
    assert causes == ["topic", "stamp"]


def test_its_cost_includes_the_frame_that_it_may_get() -> None:
    event = record(7, size=10_000)
    assert event.cost == RECORD_OVERHEAD_BYTES + 2 * len(event.payload)
    assert len(event.payload) + len(event.read(Counter())) < event.cost
