"""`Record`: one event of a stream as the edge holds it, undecoded until the first client wants it.

Also the reading of a replay's items into records.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import takewhile

from edge.core.protocol import messages
from relay.wire.envelope import Envelope, unpack_envelope
from relay.wire.errors import WireError
from relay.wire.header import event_checksum, unpack_stamp
from relay.wire.topics import Topic, decode_topic

RECORD_OVERHEAD_BYTES = 512
"""Memory of a record beside its payload, rounded up."""

Warn = Callable[..., None]
"""Logs `message % args` at a limited rate for each `cause`: `warn(cause, message, *args)`."""


class Record:
    """A journaled event: decoded, encoded as JSON and framed once, for the first receiver."""

    __slots__ = ("_addressed_to", "_frame", "offset", "payload", "relayed_at", "topic")

    is_lost = False
    """Whether the relay could not read the event: clients are told of a gap."""

    def __init__(self, topic: Topic, offset: int, relayed_at: int, payload: bytes) -> None:
        self.topic = topic
        self.offset = offset
        self.relayed_at = relayed_at
        """Unix time in milliseconds."""
        self.payload = payload
        self._frame: bytes | None = None
        """Empty for a malformed event, None until it was opened."""
        self._addressed_to: str | None = None

    @property
    def cost(self) -> int:
        """Memory in bytes, with the frame that it may get."""
        return RECORD_OVERHEAD_BYTES + 2 * len(self.payload)

    @property
    def addressed_to(self) -> str | None:
        """The user for whom the event is, None if for everybody; valid after `open` or `read`."""
        return self._addressed_to

    @property
    def frame(self) -> bytes:
        """The frame for clients, empty if malformed; valid after `open` or `read`."""
        return self._frame or b""

    @property
    def checksum(self) -> int | None:
        """The checksum by which the relay recognises the event, None if its topic is unreadable."""
        topic = self.topic.text.encode()
        return event_checksum(self.relayed_at, topic, self.payload) if topic else None

    def open(self) -> Envelope:
        """Decode the event. Raises a `WireError` if it is malformed; it is then never sent."""
        self._frame = b""
        envelope = unpack_envelope(self.payload, self.topic.kind)
        self._frame = messages.event(self.topic, self.offset, envelope)
        self._addressed_to = envelope.username
        return envelope

    def read(self, unreadable: Counter[str]) -> bytes:
        """Return the frame, empty if malformed, which `unreadable` counts the first time."""
        if self._frame is None:
            try:
                self.open()
            except WireError as error:
                unreadable[error.reason] += 1
        return self._frame or b""


class LostRecord(Record):
    """A placeholder for an event that the relay's journal has, but cannot read."""

    __slots__ = ()

    is_lost = True

    def __init__(self, stream: str, offset: int) -> None:
        super().__init__(Topic("", stream), offset, 0, b"")
        self._frame = b""


def lost_run(records: Sequence[Record]) -> int:
    """Return how many of `records`, from the first on, are lost."""
    return sum(1 for _ in takewhile(lambda record: record.is_lost, records))


def unreadable_record(stream: str, offset: int) -> Record:
    """Return a placeholder for an event with an unreadable topic, so that offsets have no hole."""
    record = Record(Topic("", stream), offset, 0, b"")
    record._frame = b""
    return record


def read_items(
    stream: str,
    items: Iterable[tuple[bytes, bytes, bytes]],
    unreadable: Counter[str],
    warn: Warn,
) -> list[Record]:
    """Return the records of a replay's items: topic, stamp, envelope.

    An item with an empty topic is lost. One with an unreadable topic becomes a placeholder. At an
    unreadable stamp, which hides the offset, the replay ends: the rest is requested again.
    """
    records: list[Record] = []
    for topic_frame, stamp_frame, payload in items:
        try:
            stamp = unpack_stamp(stamp_frame)
        except WireError as error:
            unreadable[error.reason] += 1
            warn("stamp", "a replay ends early: %s", error)
            break
        if not topic_frame:
            records.append(LostRecord(stream, stamp.offset))
            continue
        try:
            record = Record(decode_topic(topic_frame), stamp.offset, stamp.relayed_at, payload)
        except WireError as error:
            warn("topic", "a replayed event is malformed: %s", error)
            record = unreadable_record(stream, stamp.offset)
        records.append(record)
    return records
