"""The relay's counters (protocol section 9)."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from relay.shared.kind_counter import KindCounter


class RelayCounters:
    """Counts since the relay started.

    received = relayed + malformed + refused + waiting, each summed over its names.
    """

    def __init__(self, listed: Iterable[str] = ()) -> None:
        """`listed` are kinds that are counted by name in any case."""
        self.received = 0
        """Messages on the ingress, and messages of subscribers that are no subscription."""
        self.relayed = KindCounter()
        """Published events by kind."""
        self.relayed.list_kinds(listed)
        self.malformed: Counter[str] = Counter()
        """Dropped messages by the `reason` of their `WireError`."""
        self.refused: Counter[str] = Counter()
        """Refused events by reason. Events counted as `duplicate`, `out_of_sequence`,
        `not_admitted` or `journal_unavailable` are in the journal already, or their emitter still
        holds them; events counted as `best_effort_drop` are lost."""
        self.waiting = 0
        """Events that wait for the journal."""
        self.control_requests: Counter[str] = Counter()
        """Requests by operation; `refused` for requests that could not be read."""
        self.requests_delayed = 0
        """How often the further requests of a peer had to wait: the ones before had cost much."""
        self.peers_delayed = 0
        """How often a peer had to wait: its pings and refused messages before had cost much."""
        self.unproven = 0
        """Claims of emitters about acknowledged events that the journal lacks, without a proof."""
        self.connections_refused = 0
        """Connections for which only a reserved descriptor was left."""
        self.peers_cut: dict[str, Counter[str]] = {}
        """Connections that the relay has ended, by socket and reason."""

    def count_cut(self, socket: str, reason: str) -> None:
        """Note that a connection of `socket` was ended. `reason` is one of a few names."""
        self.peers_cut.setdefault(socket, Counter())[reason] += 1

    def as_dict(self) -> dict[str, Any]:
        """Return a copy of the counters as plain values."""
        return {
            "received": self.received,
            "relayed": dict(self.relayed),
            "malformed": dict(self.malformed),
            "refused": dict(self.refused),
            "waiting": self.waiting,
            "control_requests": dict(self.control_requests),
            "requests_delayed": self.requests_delayed,
            "peers_delayed": self.peers_delayed,
            "unproven": self.unproven,
            "connections_refused": self.connections_refused,
            "subscribers_cut": self.peers_cut.get("egress", Counter())["slow"],
            "peers_cut": {name: dict(cut) for name, cut in self.peers_cut.items()},
        }
