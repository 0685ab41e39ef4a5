"""A position as text, and a client's position followed through its messages."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core.protocol.positions import (
    MAX_STREAMS,
    FollowedPosition,
    Position,
    parse_position,
)
from edge.core.protocol.requests import InvalidRequest

Message = dict[str, Any]
OFFSETS = st.integers(0, 2**64 - 1)
STREAMS = st.from_regex(r"\A[a-z][a-z0-9_-]{0,20}\Z")


def position(offsets: dict[str, int], epoch: int = 7) -> Message:
    return {"type": "position", "epoch": epoch, "position": offsets}


def reply(offsets: dict[str, int], epoch: int = 7) -> Message:
    fields = {"status": "success", "action": "subscribe", "id": 0}
    return {**fields, "epoch": epoch, "position": offsets}


def event(offset: int, topic: str = "event:a", **fields: Any) -> Message:
    return {"type": "event", "topic": topic, "data": {}, "offset": offset, **fields}


@given(OFFSETS, st.dictionaries(STREAMS, OFFSETS, max_size=5))
def test_a_position_comes_back_from_its_text(epoch: int, offsets: dict[str, int]) -> None:
    found = Position(epoch, offsets)
    assert parse_position(str(found), "x") == found
    assert "\n" not in str(found)


def test_streams_without_a_subscription_are_told_apart() -> None:
    found = Position(1, {"event": 3, "task": 4, "addressed": 5})
    assert found.personal == {"task": 4, "addressed": 5}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "7",
        "x:event=1",
        "7:event",
        "7:event=",
        "7:event=-1",
        "7:event=1,",
        "7:Event=1",
        "7:event=99999999999999999999",
        "7:event=" + "1" * 10_000,
        "7:" + ",".join(f"k{number}=1" for number in range(MAX_STREAMS + 1)),
    ],
)
def test_any_other_text_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidRequest, match="after is not a position of this edge"):
        parse_position(text, "after")


class TestFollowed:
    def test_it_is_known_when_all_subscriptions_are_answered(self) -> None:
        followed = FollowedPosition(None, 2)
        assert followed.take(position({"task": 3})) is None
        assert followed.take(event(9)) is None
        assert followed.take(reply({"event": 10})) is None
        assert followed.take({**reply({}), "status": "error"}) == "7:event=10,task=3"

    def test_a_refused_subscription_is_answered_too(self) -> None:
        followed = FollowedPosition(None, 1)
        followed.take(position({"task": 3}))
        assert followed.take({"status": "error", "code": "forbidden", "id": 0}) == "7:task=3"

    def test_each_event_moves_the_position_of_its_stream(self) -> None:
        followed = FollowedPosition(None, 0)
        assert followed.take(position({"event": 1})) == "7:event=1"
        assert followed.take(event(4)) == "7:event=4"
        assert followed.take(event(2, "note:1", stream="addressed")) == "7:addressed=2,event=4"
        assert followed.take(event(5, "app_log")) == "7:addressed=2,app_log=5,event=4"

    def test_what_brings_nothing_new_is_no_news(self) -> None:
        followed = FollowedPosition(None, 0)
        followed.take(position({"event": 4, "task": 3}))
        live = event(0, "server_log:a")
        del live["offset"]
        for message in (
            live,
            event(9, "task:1", retained=True),
            event(4),
            position({"event": 4}),
            {"type": "greeting", "text": "of the application"},
        ):
            assert followed.take(message) is None, message

    def test_a_gap_is_passed(self) -> None:
        followed = FollowedPosition(Position(7, {"event": 1}), 1)
        gap = {"type": "gap", "stream": "event", "from": 2, "to": 8, "reason": "retention"}
        assert followed.take(gap) == "7:event=8"

    def test_a_position_that_was_brought_counts_from_the_first_event(self) -> None:
        followed = FollowedPosition(Position(7, {"event": 1, "order": 5}), 1)
        assert followed.take(position({})) == "7:event=1,order=5"
        assert followed.take(event(2)) == "7:event=2,order=5"
        assert followed.take(reply({"event": 2, "order": 9})) == "7:event=2,order=9"

    def test_in_a_new_epoch_it_is_unknown_until_all_is_answered(self) -> None:
        """Else a client that resumes in the midst would take what it missed for seen."""
        followed = FollowedPosition(Position(7, {"event": 5}), 1)
        followed.take(position({}))
        assert followed.take(position({}, epoch=8)) is None
        assert followed.take(event(1, "note:1", stream="addressed")) is None
        assert followed.take(reply({"event": 3}, epoch=8)) == "8:addressed=1,event=3"

    def test_a_new_epoch_of_a_live_client_begins_with_its_position(self) -> None:
        followed = FollowedPosition(None, 1)
        followed.take(reply({"event": 50}))
        assert followed.take(position({"event": 3}, epoch=8)) == "8:event=3"
