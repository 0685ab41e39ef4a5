"""The messages on `presence:` topics."""

import json
from typing import Any

import pytest

from edge.core.presence import frames
from edge.core.presence.view import PresenceChange, PresenceCount, PresentUser
from edge.core.websocket.frames import frame_payload
from tests.relay.wire.vectors import vectors

NOW = 1790000002000


def message(frame: bytes) -> Any:
    return json.loads(frame_payload(frame))


@pytest.mark.parametrize("case", vectors("presence")["messages"])
def test_vector_is_the_message(case: dict[str, Any]) -> None:
    if "present" in case:
        users = [PresentUser(*each) for each in case["present"]]
        count = PresenceCount(len(users), sum(each.connections for each in users))
        found = [frames.state(case["topic"], users, count, NOW)]
    else:
        joined = tuple(PresentUser(*each) for each in case["joined"])
        change = PresenceChange(
            case["topic"], joined, tuple(case["left"]), PresenceCount(*case["count"])
        )
        found = list(frames.changes(change, NOW))
    assert [message(each) for each in found] == [case["message"]]


def test_a_long_state_names_a_part_and_counts_the_rest() -> None:
    users = [PresentUser(f"user-{n}", 1, 1) for n in range(frames.MAX_PRESENT + 7)]
    data = message(frames.state("room:5", users, PresenceCount(len(users), 9), NOW))["data"]
    assert [each["username"] for each in data["present"]] == [
        each.username for each in users[: frames.MAX_PRESENT]
    ]
    assert (data["more"], data["users"], data["connections"]) == (7, len(users), 9)
    exactly = message(frames.state("room:5", users[:-7], PresenceCount(1, 1), NOW))["data"]
    assert "more" not in exactly


def test_a_long_change_is_told_in_parts() -> None:
    joined = tuple(PresentUser(f"user-{n}", 1, 1) for n in range(frames.MAX_CHANGED + 1))
    left = tuple(f"gone-{n}" for n in range(2 * frames.MAX_CHANGED))
    change = PresenceChange("room:5", joined, left, PresenceCount(5, 6))
    parts = [message(each)["data"] for each in frames.changes(change, NOW)]
    assert [(len(each["joined"]), len(each["left"])) for each in parts] == [(1000, 1000), (1, 1000)]
    assert [name for each in parts for name in each["left"]] == list(left)
    assert all((each["users"], each["connections"]) == (5, 6) for each in parts)
