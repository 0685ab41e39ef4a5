"""The relay's counters (protocol section 9)."""

from collections import Counter
from typing import Any


class RelayCounters:
    """Counts since the relay started.

    received = relayed + malformed + refused, each of them summed over its names.
    """

    def __init__(self) -> None:
        self.received = 0
        self.relayed: Counter[str] = Counter()
        """By kind."""
        self.malformed: Counter[str] = Counter()
        """By reason."""
        self.refused: Counter[str] = Counter()
        """By reason: `duplicate`, `out_of_sequence`, `not_admitted` and `journal_unavailable` are
        events that their emitter keeps or that came before; `best_effort_drop` are lost."""
        self.control_requests: Counter[str] = Counter()
        """By operation; `refused` for those that were not understood."""

    def as_dict(self) -> dict[str, Any]:
        """The counters as plain values."""
        return {
            "received": self.received,
            "relayed": dict(self.relayed),
            "malformed": dict(self.malformed),
            "refused": dict(self.refused),
            "control_requests": dict(self.control_requests),
        }
