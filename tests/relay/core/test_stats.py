"""The relay's counters as plain values."""

import json

from relay.core.stats import Stats


def test_counters_begin_at_zero() -> None:
    assert Stats().as_dict() == {
        "received": 0,
        "tracked": 0,
        "best_effort": 0,
        "relayed": {},
        "malformed": {},
        "control_requests": {},
    }


def test_counters_are_shown_as_json_can_carry_them() -> None:
    stats = Stats()
    stats.received += 3
    stats.tracked += 1
    stats.best_effort += 1
    stats.relayed["event"] += 2
    stats.malformed["invalid_topic"] += 1
    stats.control_requests["hello"] += 1
    shown = json.loads(json.dumps(stats.as_dict()))
    assert shown["received"] == shown["relayed"]["event"] + shown["malformed"]["invalid_topic"]
    assert shown["control_requests"] == {"hello": 1}


def test_what_was_shown_does_not_change() -> None:
    stats = Stats()
    shown = stats.as_dict()
    stats.relayed["event"] += 1
    assert shown["relayed"] == {}
