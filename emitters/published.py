"""`Published`: the outbox as other threads see it, replaced as a whole by the link thread."""

from typing import NamedTuple

from emitters.handover import Node


class Published(NamedTuple):
    """Counts of an emitter, at one moment."""

    freed_events: int
    """Of the events that were handed over, those that left the outbox."""
    taken_live: int
    """Of the live values that were handed over, those that came to the outbox."""
    acknowledged: int
    live: int
    live_sent: int
    conflated: int

    def counters(self, last: Node, refused: int) -> dict[str, int]:
        """Return the counters, by the names of protocol section 9.

        `last` was handed over last; `refused` events were not.
        """
        return {
            "accepted": self.acknowledged + last.events - self.freed_events,
            "acknowledged": self.acknowledged,
            "outbox_full": refused,
            "live": self.live + last.live - self.taken_live,
            "live_sent": self.live_sent,
            "conflated": self.conflated,
        }
