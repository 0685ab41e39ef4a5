"""A relay's journal in memory, for tests of an edge."""

import msgpack

from edge.core.streams.record import Record
from relay.wire.topics import decode_topic, parse_topic

MAX_REPLY_RECORDS = 100
"""Fewer than a page, so that a reply may be shorter than its request."""


def payload(data: object = None, username: str | None = None) -> bytes:
    """An envelope as it travels."""
    fields = {"type": "any", "data": data or {}, "source": "m", "emitted_at": 1, "id": "x"}
    if username is not None:
        fields["username"] = username
    packed: bytes = msgpack.packb(fields)
    return packed


def record(
    offset: int, topic: str = "event:a", username: str | None = None, size: int = 0
) -> Record:
    """A record whose payload names its offset, with `size` bytes more."""
    data = {"n": offset, "ballast": "x" * size} if size else {"n": offset}
    parsed = decode_topic(topic.encode()) if topic.startswith("addressed:") else parse_topic(topic)
    return Record(parsed, offset, 0, payload(data, username))


class Journal:
    """The committed events of one stream, from `low` on."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.low = 1

    @property
    def tip(self) -> int:
        """The newest offset."""
        return len(self.records)

    def append(self, topic: str = "event:a", username: str | None = None) -> Record:
        """Commit the next event."""
        appended = record(self.tip + 1, topic, username)
        self.records.append(appended)
        return appended

    def retire(self, low: int) -> None:
        """Forget the events before `low`."""
        self.low = max(self.low, min(low, self.tip + 1))

    def replay(self, after: int, limit: int) -> list[Record]:
        """The records in a reply: copies, as from the wire."""
        start = max(after + 1, self.low)
        count = min(limit, MAX_REPLY_RECORDS)
        return [
            Record(each.topic, each.offset, each.relayed_at, each.payload)
            for each in self.records[start - 1 : start - 1 + count]
        ]
