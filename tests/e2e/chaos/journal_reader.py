"""Reads the whole journal from the running relay, as an edge would."""

import msgpack

from relay.wire.header import unpack_stamp
from tests.e2e.chaos.judge import Address, JournalStream
from tests.support.relay_peer import RelayPeer
from tests.support.swarm_record import payload_key

STREAMS = ("event", "task", "addressed")


def read_journal(relay: RelayPeer) -> tuple[int, dict[str, JournalStream]]:
    """Return the epoch and every stream from its first event to its tip."""
    epochs: set[int] = set()
    journal = {name: JournalStream() for name in STREAMS}
    for name, stream in journal.items():
        for page in relay.replay(name):
            epochs.add(page.epoch)
            for topic, stamp, envelope in page.items:
                unpacked = msgpack.unpackb(envelope)
                data = unpacked["data"]
                stream.add(
                    unpack_stamp(stamp).offset,
                    payload_key(data["run"], data["n"]),
                    Address(topic.decode(), unpacked.get("username")),
                )
    [epoch] = epochs
    return epoch, journal
