"""`Resume`: brings one connection from where it was to where the streams are (section 7).

In steps of a bounded size, from what the edge remembers. A step that needs something says so:
records that the relay has to replay, or that streams go on. The last step ends with every stream
at its head, so that whoever subscribes the connection in the same turn leaves neither hole nor
repeat.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from edge.core.hub.audience import Connection
from edge.core.hub.connections import ConnectionManager
from edge.core.identity.access import may_receive
from edge.core.protocol import messages
from edge.core.streams.record import Record
from edge.core.streams.streams import Stream, Streams

STEP_BYTES = 64 * 1024
"""Frames handed to a connection before it is its transport's turn."""
STEP_RECORDS = 512
"""Records looked at before other clients have their turn."""


class Fetch(NamedTuple):
    """Records that the relay has to replay."""

    stream: str
    after: int
    limit: int


class Fetched(NamedTuple):
    """What the relay replayed: a contiguous run."""

    stream: str
    records: Sequence[Record]


class Outcome(NamedTuple):
    """How a step ended."""

    is_complete: bool = False
    deliveries: int = 0
    """Events that were handed to the connection."""
    fetch: Fetch | None = None
    """The next step needs these."""
    awaits_streams: bool = False
    """The next step makes sense when streams have gone on: the client is ahead of this edge."""


class Span(NamedTuple):
    """Where a resume starts in a stream."""

    since: int
    """What follows is replayed."""
    furthest: int
    """The last offset that the client has of any subscription; the stream must reach it."""


class Resume:
    """One pass over one or more streams, each in the order of its offsets."""

    def __init__(
        self,
        connection: Connection,
        manager: ConnectionManager,
        streams: Streams,
        spans: Mapping[str, Span],
        wants: Callable[[Record], bool],
    ) -> None:
        """`wants` tells whether the connection's subscriptions select a record."""
        self._connection = connection
        self._manager = manager
        self._streams = streams
        self._spans = dict(spans)
        self._positions = {kind: span.since for kind, span in spans.items()}
        self._wants = wants
        self.gaps: dict[str, int] = {}
        """Stream to the last offset that was lost."""
        self.unreached: dict[str, int] = {}
        """Of streams that did not come as far as the client: how far they came."""

    @property
    def is_complete(self) -> bool:
        """Whether there is nothing left to send."""
        return all(
            stream.history.head <= self._positions[kind]
            and (span.furthest <= stream.history.head or kind in self.unreached)
            for kind, span in self._spans.items()
            if (stream := self._streams.get(kind)) is not None
        )

    def step(self, fetched: Fetched | None = None) -> Outcome:
        """Send the next records; `fetched` is what the step before asked for."""
        allowance = _Allowance()
        for kind in self._spans:
            stream = self._streams.get(kind)
            if stream is not None and (fetch := self._advance(stream, allowance, fetched)):
                return Outcome(deliveries=allowance.deliveries, fetch=fetch)
            if allowance.is_spent:
                return Outcome(self.is_complete, allowance.deliveries)
        complete = self.is_complete
        return Outcome(complete, allowance.deliveries, awaits_streams=not complete)

    def give_up_waiting(self) -> None:
        """Streams do not come as far as the client says it was: it goes on with what there is."""
        for kind, span in self._spans.items():
            stream = self._streams.get(kind)
            if stream is not None and stream.history.head < span.furthest:
                self.unreached[kind] = stream.history.head

    def _advance(
        self, stream: Stream, allowance: "_Allowance", fetched: Fetched | None
    ) -> Fetch | None:
        """Send what the allowance permits of `stream`; return what is missing."""
        kind, history = stream.kind, stream.history
        while (position := self._positions[kind]) < history.head and not allowance.is_spent:
            records = run_after(stream, position, fetched)
            if records is not None:
                self._positions[kind] = self._send(records, allowance)
            elif history.is_gone(position):
                last = min(history.first_after(position) - 1, history.head)
                self._positions[kind] = self.gaps[kind] = last
                self._manager.send_to_client(
                    self._connection, messages.gap(kind, position + 1, last)
                )
            else:
                return Fetch(kind, *history.missing(position))
        return None

    def _send(self, records: Sequence[Record], allowance: "_Allowance") -> int:
        """Send those of `records` that are for this client; return the last one's offset."""
        offset = 0
        for record in records:
            offset = record.offset
            size = 0
            if self._wants(record):
                frame = record.read(self._streams.unreadable)
                # Asked for each event anew: a client's role may change on the way.
                if frame and may_receive(self._connection.identity, record.addressed_to):
                    self._manager.forward_to_client(self._connection, frame)
                    allowance.deliveries += 1
                    size = len(frame)
            if allowance.spend(size):
                break
        return offset


class _Allowance:
    """What one step may do."""

    __slots__ = ("_bytes", "_records", "deliveries")

    def __init__(self) -> None:
        self._bytes = STEP_BYTES
        self._records = STEP_RECORDS
        self.deliveries = 0

    @property
    def is_spent(self) -> bool:
        """Whether the step must end."""
        return self._bytes <= 0 or self._records <= 0

    def spend(self, size: int) -> bool:
        """One record was looked at and `size` bytes were sent; return whether it is spent."""
        self._bytes -= size
        self._records -= 1
        return self._bytes <= 0 or self._records <= 0


def run_after(stream: Stream, position: int, fetched: Fetched | None) -> Sequence[Record] | None:
    """Return records that follow `position`, remembered or just fetched; None if there are none.

    What was fetched for many is used even if there was no room to remember it.
    """
    records = stream.history.after(position)
    if records is not None or fetched is None or fetched.stream != stream.kind:
        return records
    run = [record for record in fetched.records if position < record.offset <= stream.history.head]
    return run if run and run[0].offset == position + 1 else None
