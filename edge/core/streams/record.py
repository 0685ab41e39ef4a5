"""One event of a stream as the edge holds it: raw, until the first client wants it."""

from collections import Counter

from edge.core.protocol import messages
from relay.wire.envelope import Envelope, unpack_envelope
from relay.wire.errors import WireError
from relay.wire.header import Stamp
from relay.wire.topics import Topic

RECORD_OVERHEAD_BYTES = 512
"""What a record takes in memory beside its payload, rounded up."""


class Record:
    """A journaled event. Decoded, turned into JSON and framed once, by whoever needs it first."""

    __slots__ = ("_addressed_to", "_frame", "offset", "payload", "relayed_at", "topic")

    def __init__(self, topic: Topic, offset: int, relayed_at: int, payload: bytes) -> None:
        self.topic = topic
        self.offset = offset
        self.relayed_at = relayed_at
        """Unix time in milliseconds."""
        self.payload = payload
        self._frame: bytes | None = None
        self._addressed_to: str | None = None

    @property
    def cost(self) -> int:
        """The bytes of memory that it takes, once its frame is made as well."""
        return RECORD_OVERHEAD_BYTES + 2 * len(self.payload)

    @property
    def addressed_to(self) -> str | None:
        """The user whom it is for, None if for everybody; known once it was opened or read."""
        return self._addressed_to

    @property
    def frame(self) -> bytes:
        """What clients are sent; empty if it is malformed. Known once it was opened or read."""
        return self._frame or b""

    def open(self) -> Envelope:
        """Decode it. Raises a `WireError` if it is malformed, and is then skipped for good."""
        self._frame = b""
        envelope = unpack_envelope(self.payload, self.topic.kind)
        stamp = Stamp(0, self.offset, self.relayed_at)
        self._frame = messages.frame(messages.event_fields(self.topic.text, stamp, envelope))
        self._addressed_to = envelope.username
        return envelope

    def read(self, unreadable: Counter[str]) -> bytes:
        """Return the frame, empty if it is malformed, which is counted the first time."""
        if self._frame is None:
            try:
                self.open()
            except WireError as error:
                unreadable[error.reason] += 1
        return self._frame or b""


def unreadable(kind: str, offset: int) -> Record:
    """Return what stands for an event that could not even be taken apart."""
    record = Record(Topic("", kind), offset, 0, b"")
    record._frame = b""
    return record
