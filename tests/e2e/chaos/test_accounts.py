"""The accounts of the chaos suite are refused when they do not add up."""

import copy
from typing import Any

import pytest

from tests.e2e.chaos.accounts import (
    delivery_problems,
    edge_problems,
    emitter_problems,
    relay_problems,
)
from tests.support.swarm_client import ConnectionAccount

STATS: dict[str, Any] = {
    "received": 10,
    "relayed": {"event": 4, "task": 2},
    "malformed": {},
    "refused": {"duplicate": 3, "not_admitted": 1},
    "streams": {"event": {"tip": 4, "retention": 0}},
    "emitters": [
        {"name": "load-0", "reported": {"accepted": 6, "acknowledged": 6, "outbox_full": 2}}
    ],
}
TOLD = {"load-0": {"emitted": 6, "left": 0, "outbox_full": 2}}


METRICS: dict[str, dict[str, float]] = {
    "edge_events_received": {"event": 10, "task": 1},
    "edge_events_forwarded": {"event": 5, "task": 1},
    "edge_events_filtered": {"event": 2},
    "edge_repeated": {"event": 1},
    "edge_out_of_order": {"event": 2},
    "edge_malformed": {},
    "edge_held": {"": 0},
    "edge_retention": {},
    "edge_deliveries": {"": 20},
    "edge_messages_sent": {"": 5},
    "edge_written": {"": 15},
    "edge_slow_consumer": {"": 3},
    "edge_disconnected": {"": 2},
    "edge_conflated": {"": 1},
    "edge_waiting": {"": 4},
}


@pytest.fixture
def stats() -> dict[str, Any]:
    return copy.deepcopy(STATS)


def test_right_accounts_pass(stats: dict[str, Any]) -> None:
    assert list(relay_problems(stats)) == []
    assert list(emitter_problems(stats, TOLD)) == []
    assert list(edge_problems("edge 0", METRICS)) == []


def test_an_event_that_went_nowhere_is_noticed(stats: dict[str, Any]) -> None:
    stats["received"] = 11
    assert list(relay_problems(stats)) == [
        "relay: received 11, but 6 relayed, 0 malformed and 4 refused"
    ]


def test_what_a_relay_may_not_lose_is_noticed(stats: dict[str, Any]) -> None:
    stats["received"] = 12
    stats["malformed"] = {"too_large": 1}
    stats["refused"]["best_effort_drop"] = 1
    stats["streams"]["event"]["retention"] = 7
    assert list(relay_problems(stats)) == [
        "relay: malformed {'too_large': 1}",
        "relay: 1 events were given up, though every emitter is tracked",
        "relay: retention took 7 events of event",
    ]


@pytest.mark.parametrize("counter", ["accepted", "acknowledged", "outbox_full"])
def test_an_emitter_that_counts_otherwise_is_noticed(stats: dict[str, Any], counter: str) -> None:
    stats["emitters"][0]["reported"][counter] += 1
    assert len(list(emitter_problems(stats, TOLD))) == 1


@pytest.mark.parametrize(
    ("metric", "label", "told"),
    [
        ("edge_events_received", "event", "received 11 of event, but"),
        ("edge_events_filtered", "event", "received 10 of event, but"),
        ("edge_malformed", "invalid_envelope", "malformed {'invalid_envelope': 1}"),
        ("edge_held", "", "held {'': 1}"),
        ("edge_retention", "event", "the relay no longer had {'event': 1}"),
        ("edge_deliveries", "", "26 frames for clients, but"),
        ("edge_messages_sent", "", "26 frames for clients, but"),
        ("edge_written", "", "25 frames for clients, but"),
    ],
)
def test_an_edge_that_miscounts_is_noticed(metric: str, label: str, told: str) -> None:
    metrics = copy.deepcopy(METRICS)
    metrics[metric][label] = metrics[metric].get(label, 0) + 1
    [problem] = edge_problems("edge 0", metrics)
    assert told in problem


def test_frames_may_be_missing_only_where_connections_were_cut() -> None:
    whole, cut = ConnectionAccount(0.0, 8000, 7), ConnectionAccount(0.0, 8000, 2, is_whole=False)
    assert list(delivery_problems("edge 0", 7, [whole])) == []
    assert list(delivery_problems("edge 0", 12, [whole, cut])) == []
    assert list(delivery_problems("edge 0", 8, [whole])) == [
        "edge 0: wrote 8 frames, 7 came, 0 connections were cut"
    ]
    assert list(delivery_problems("edge 0", 8, [whole, cut])) == [
        "edge 0: wrote 8 frames, 9 came, 1 connections were cut"
    ]
