"""The relay's counters as plain values."""

import json

from relay.core.stats import RelayCounters


def test_counters_begin_at_zero() -> None:
    assert RelayCounters().as_dict() == {
        "received": 0,
        "relayed": {},
        "malformed": {},
        "refused": {},
        "control_requests": {},
    }


def test_counters_are_shown_as_json_can_carry_them() -> None:
    stats = RelayCounters()
    stats.received += 4
    stats.relayed["event"] += 2
    stats.malformed["invalid_topic"] += 1
    stats.refused["duplicate"] += 1
    stats.control_requests["hello"] += 1
    assert json.loads(json.dumps(stats.as_dict())) == {
        "received": 4,
        "relayed": {"event": 2},
        "malformed": {"invalid_topic": 1},
        "refused": {"duplicate": 1},
        "control_requests": {"hello": 1},
    }


def test_what_was_shown_does_not_change() -> None:
    stats = RelayCounters()
    shown = stats.as_dict()
    stats.relayed["event"] += 1
    stats.refused["duplicate"] += 1
    assert (shown["relayed"], shown["refused"]) == ({}, {})
