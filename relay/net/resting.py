"""`Resting`: the peers of a port that are not read for a while."""

import heapq
from collections.abc import Iterator

from relay.net.peer import Peer


class Resting:
    """`now` is in seconds, monotonic."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, bytes]] = []
        """When the rest of a peer ends, with its id."""

    @property
    def due_at(self) -> float:
        """When `rested` may have something to return."""
        return self._heap[0][0] if self._heap else float("inf")

    def add(self, peer: Peer, until: float) -> None:
        """Let `peer` rest."""
        peer.is_resting = True
        heapq.heappush(self._heap, (until, peer.id))

    def rested(self, now: float) -> Iterator[bytes]:
        """Yield the ids of peers whose rest is over. Some may have gone."""
        while self._heap and self._heap[0][0] <= now:
            yield heapq.heappop(self._heap)[1]
