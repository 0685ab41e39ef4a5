"""How far an edge has come in each stream."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core.streams import StreamPositions
from relay.wire.header import Stamp
from relay.wire.topics import parse_pattern


@pytest.fixture
def positions() -> StreamPositions:
    positions = StreamPositions()
    positions.synchronize(7, {"event": 1042, "task": 77})
    return positions


def test_before_the_relay_is_known_there_are_no_streams() -> None:
    positions = StreamPositions()
    assert (positions.epoch, dict(positions.offsets)) == (0, {})
    assert not positions.is_stream("event")


def test_the_relay_says_which_kinds_are_streams(positions: StreamPositions) -> None:
    assert positions.is_stream("event")
    assert not positions.is_stream("resource-monitor")
    positions.synchronize(8, {"audit": 1})
    assert (positions.epoch, dict(positions.offsets)) == (8, {"audit": 1})
    assert not positions.is_stream("event")


@given(st.lists(st.tuples(st.sampled_from([7, 8]), st.integers(0, 2000))))
def test_a_position_never_goes_back_and_ignores_other_epochs(stamps: list[tuple[int, int]]) -> None:
    positions = StreamPositions()
    positions.synchronize(7, {"event": 1042, "task": 77})
    for epoch, offset in stamps:
        positions.advance("event", Stamp(epoch, offset, 0))
    expected = max([1042, *(offset for epoch, offset in stamps if epoch == 7)])
    assert positions.offsets == {"event": expected, "task": 77}


@pytest.mark.parametrize(
    ("pattern", "streams"),
    [
        ("event:a", ["event"]),
        ("event:*", ["event"]),
        ("event:a*", ["event"]),
        ("e*", ["event"]),
        ("event*", ["event"]),
        ("*", ["event", "task"]),
        ("task:1", ["task"]),
        ("events:a", []),
        ("events*", []),
        ("resource-monitor:a", []),
    ],
)
def test_the_positions_that_concern_a_pattern(
    positions: StreamPositions, pattern: str, streams: list[str]
) -> None:
    assert list(positions.concerning([parse_pattern(pattern)])) == streams


def test_several_selectors_concern_the_streams_of_each(positions: StreamPositions) -> None:
    selectors = [parse_pattern("task:1"), parse_pattern("event:*")]
    assert positions.concerning(selectors) == {"event": 1042, "task": 77}
    assert positions.concerning([]) == {}
