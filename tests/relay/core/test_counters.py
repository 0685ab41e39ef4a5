"""The relay's counters: their number is bounded, and they are shown as plain values."""

import json

from relay.core.counters import RelayCounters
from relay.shared.kind_counter import MAX_OTHER_KINDS, OTHER_KINDS


def test_counters_begin_at_zero() -> None:
    assert RelayCounters().as_dict() == {
        "received": 0,
        "relayed": {},
        "malformed": {},
        "refused": {},
        "waiting": 0,
        "control_requests": {},
        "requests_delayed": 0,
        "peers_delayed": 0,
        "unproven": 0,
        "connections_refused": 0,
        "subscribers_cut": 0,
        "peers_cut": {},
    }


def test_counters_are_shown_as_json_can_carry_them() -> None:
    counters = RelayCounters()
    counters.received += 4
    counters.relayed["event"] += 2
    counters.malformed["invalid_topic"] += 1
    counters.refused["duplicate"] += 1
    counters.control_requests["hello"] += 1
    counters.unproven += 3
    counters.connections_refused += 1
    counters.count_cut("egress", "slow")
    counters.count_cut("egress", "slow")
    counters.count_cut("control", "silent")
    assert json.loads(json.dumps(counters.as_dict())) == {
        "received": 4,
        "relayed": {"event": 2},
        "malformed": {"invalid_topic": 1},
        "refused": {"duplicate": 1},
        "waiting": 0,
        "control_requests": {"hello": 1},
        "requests_delayed": 0,
        "peers_delayed": 0,
        "unproven": 3,
        "connections_refused": 1,
        "subscribers_cut": 2,
        "peers_cut": {"egress": {"slow": 2}, "control": {"silent": 1}},
    }


def test_a_shown_dict_does_not_change() -> None:
    counters = RelayCounters()
    shown = counters.as_dict()
    counters.relayed["event"] += 1
    counters.refused["duplicate"] += 1
    assert (shown["relayed"], shown["refused"]) == ({}, {})


def test_kinds_are_counted_by_name_up_to_a_number_and_listed_ones_beyond_it() -> None:
    """Publishers choose the names of live kinds."""
    counters = RelayCounters(["event"])
    for number in range(MAX_OTHER_KINDS + 50):
        counters.relayed[f"kind-{number}"] += 2
    counters.relayed["kind-0"] += 1
    counters.relayed["event"] += 5
    assert len(counters.relayed) == MAX_OTHER_KINDS + 2
    assert counters.relayed["kind-0"] == 3
    assert counters.relayed["event"] == 5
    assert counters.relayed[OTHER_KINDS] == 2 * 50
