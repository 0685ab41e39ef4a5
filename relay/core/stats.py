"""The relay's counters (protocol section 4, `stats`)."""

from collections import Counter
from typing import Any


class Stats:
    """Counts of events since the relay started: received = relayed + every malformed reason."""

    def __init__(self) -> None:
        self.received = 0
        self.relayed: Counter[str] = Counter()
        """By kind."""
        self.tracked = 0
        """Received with an emitter's header."""
        self.best_effort = 0
        """Received from plain publishers, without one."""
        self.malformed: Counter[str] = Counter()
        """By reason."""
        self.control_requests: Counter[str] = Counter()
        """By operation; `refused` for those that were not understood."""

    def as_dict(self) -> dict[str, Any]:
        """The counters as plain values."""
        return {
            "received": self.received,
            "tracked": self.tracked,
            "best_effort": self.best_effort,
            "relayed": dict(self.relayed),
            "malformed": dict(self.malformed),
            "control_requests": dict(self.control_requests),
        }
