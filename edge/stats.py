"""The edge's counters."""

from collections import Counter


class EdgeStats:
    """Plain numbers since this worker started; `edge.metrics` shows them to Prometheus."""

    def __init__(self) -> None:
        self.events_received: Counter[str] = Counter()
        """By kind."""
        self.events_filtered: Counter[str] = Counter()
        """By kind: not decoded, because no client of this worker wanted them."""
        self.malformed: Counter[str] = Counter()
        """By reason."""
        self.deliveries = 0
        """Frames of events handed to connections."""
        self.conflated = 0
        """Live values replaced by newer ones while they waited for a slow client."""
        self.messages_received = 0
        """From clients."""
        self.connections_accepted = 0
        self.handshakes_refused = 0
        self.closed: Counter[int] = Counter()
        """By the code this edge closed with."""
