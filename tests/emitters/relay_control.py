"""The journal and the counters of a relay, by its control socket."""

from collections import Counter
from typing import Any

from relay.wire.envelope import Envelope, unpack_envelope
from relay.wire.header import unpack_stamp
from tests.support.relay_peer import RelayPeer


def read_journal(control: str, stream: str = "event") -> list[Envelope]:
    """Return every event of `stream`, whose offsets must be 1, 2, 3…"""
    events: list[Envelope] = []
    with RelayPeer(control) as peer:
        for page in peer.replay(stream):
            for _topic, stamp, envelope in page.items:
                events.append(unpack_envelope(envelope, stream))
                assert unpack_stamp(stamp).offset == len(events)
    return events


def journaled_by_process(control: str) -> Counter[str]:
    """Return the number of events by their `by`, whose `n` must be 1, 2, 3…"""
    last: Counter[str] = Counter()
    for event in read_journal(control):
        by, number = str(event.data["by"]), event.data["n"]
        assert number == last[by] + 1, f"of {by}: {number} after {last[by]}"
        last[by] = number
    return last


def emitter_stats(control: str, name: str) -> dict[str, Any]:
    """Return the relay's statistics of the emitter `name`, empty if it has none."""
    with RelayPeer(control) as peer:
        emitters = peer.stats()["emitters"]
    return next((each for each in emitters if each["name"] == name), {})
