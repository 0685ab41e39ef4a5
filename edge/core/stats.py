"""The edge's counters."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from relay.shared.kind_counter import KindCounter


@dataclass(frozen=True, slots=True)
class Dropped:
    """Events that arrived and were dropped, by stream."""

    repeated: Counter[str] = field(default_factory=Counter)
    """Had arrived before."""
    out_of_order: Counter[str] = field(default_factory=Counter)
    """Arrived while an event before them was missing; a replay brings them again."""


@dataclass(slots=True)
class PresenceStats:
    """Presence as this worker knows it."""

    seats: int = 0
    """Users at topics of this worker, at present."""
    unlisted: int = 0
    """Those of them, at present, for whom there is no room."""
    left_out: int = 0
    """Users and workers of others that were not taken, because there were too many."""


@dataclass(slots=True)
class HttpStats:
    """Counts of the roads beside `/ws`."""

    published: int = 0
    """Events that were published and acknowledged, or handed over if live."""
    publish_requests: Counter[str] = field(default_factory=Counter)
    """By outcome: `published`, `invalid`, `forbidden`, `conflict`, `limited`, `not_taken`,
    `not_acknowledged` or `failed`."""
    event_streams: int = 0
    """Event streams (SSE) that were begun."""


@dataclass(slots=True)
class ArrivalStats:
    """Connections, requests and messages that were refused before anybody acted on them."""

    address_refusals: Counter[str] = field(default_factory=Counter)
    """Of addresses with too many `connections`, or a too high `rate` of new ones."""
    messages_refused: Counter[str] = field(default_factory=Counter)
    """Messages from clients by reason: `invalid_json`, `no_object` or `too_deep`."""
    accepts_refused: int = 0
    """Connections that came too fast, whoever made them."""
    gave_way: int = 0
    """Silent connections that were ended because newer ones needed their room."""
    requests_refused: Counter[str] = field(default_factory=Counter)
    """By the status of the answer; `0` without one."""


class EdgeStats:
    """Plain numbers since this worker started; `edge.http.metrics` shows them to Prometheus.

    They add up (protocol section 9). Of events: received = forwarded + filtered + repeated +
    out of order + malformed + held. Of messages to clients: deliveries + messages sent =
    written + slow consumer + disconnected + conflated + waiting.
    """

    def __init__(self) -> None:
        self.events_received = KindCounter()
        """By kind."""
        self.events_forwarded = KindCounter()
        """By kind: handed to one client or more."""
        self.events_filtered = KindCounter()
        """By kind: no client of this worker is subscribed; not decoded, unless they are tasks."""
        self.dropped = Dropped()
        """Repeated, or out of order and replayed later."""
        self.malformed: Counter[str] = Counter()
        """By reason."""
        self.unreadable: Counter[str] = Counter()
        """By reason: malformed events that resuming clients asked for or the relay had retained."""
        self.retention: Counter[str] = Counter()
        """By stream: missed events that the relay no longer had."""
        self.replayed: Counter[str] = Counter()
        """By stream: events fetched from the relay for resuming clients."""
        self.deliveries = 0
        """Frames of events handed to connections."""
        self.written = 0
        """Frames that a connection's transport took."""
        self.slow_consumer = 0
        """Frames dropped when a client was closed with 4008."""
        self.disconnected = 0
        """Frames handed to a connection and not written when it ended."""
        self.conflated = 0
        """Live values that a newer one replaced while they waited for a slow client."""
        self.presence = PresenceStats()
        self.messages_received = 0
        """Messages from clients."""
        self.connections_accepted = 0
        self.handshakes_refused = 0
        self.short_of_descriptors = 0
        """Connections that were refused because the process had too few descriptors left."""
        self.closed: Counter[int] = Counter()
        """By the close code that this edge sent."""
        self.arrivals = ArrivalStats()
        self.http = HttpStats()
        self.sign_ins: Counter[str] = Counter()
        """By outcome: `succeeded`, `wrong`, `delayed`, `overloaded` or `abandoned`."""

    def list_kinds(self, kinds: Iterable[str]) -> None:
        """Count events of each of `kinds` by its name, whatever other kinds there are."""
        for counter in (self.events_received, self.events_forwarded, self.events_filtered):
            counter.list_kinds(kinds)
