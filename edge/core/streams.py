"""How far this edge has come in each stream."""

from collections.abc import Iterable, Mapping

from relay.wire.header import Stamp
from relay.wire.topics import Pattern


class StreamPositions:
    """Epoch and last forwarded offset of each stream.

    Everything up to a position has been sent to whoever was subscribed.
    """

    def __init__(self) -> None:
        self.epoch = 0
        self._offsets: dict[str, int] = {}

    @property
    def offsets(self) -> Mapping[str, int]:
        """Stream to offset."""
        return self._offsets

    def is_stream(self, kind: str) -> bool:
        """Whether `kind` is journaled."""
        return kind in self._offsets

    def synchronize(self, epoch: int, tips: Mapping[str, int]) -> None:
        """Start from `tips`: what follows will arrive."""
        self.epoch = epoch
        self._offsets = dict(tips)

    def advance(self, kind: str, stamp: Stamp) -> None:
        """An event of the stream `kind` was forwarded."""
        if stamp.epoch == self.epoch and stamp.offset > self._offsets.get(kind, 0):
            self._offsets[kind] = stamp.offset

    def concerning(self, selectors: Iterable[Pattern]) -> dict[str, int]:
        """The positions of the streams that `selectors` can match."""
        wanted = tuple(selectors)
        return {
            kind: offset
            for kind, offset in self._offsets.items()
            if any(_may_match(selector, f"{kind}:") for selector in wanted)
        }


def _may_match(selector: Pattern, kind_prefix: str) -> bool:
    prefix = selector.prefix
    return prefix.startswith(kind_prefix) or (not selector.exact and kind_prefix.startswith(prefix))
