"""Numbers the events of each stream.

A stream is a journaled kind. Its offsets are 1, 2, 3… under one epoch, the same for all streams
of a relay.
"""

from collections.abc import Mapping


class Sequencer:
    """Where each stream is. Offsets are given out before the commit and count after it."""

    def __init__(self, epoch: int, tips: Mapping[str, int]) -> None:
        self.epoch = epoch
        self._tips = dict(tips)

    @property
    def journaled_kinds(self) -> tuple[str, ...]:
        """The kinds that are streams."""
        return tuple(self._tips)

    @property
    def tips(self) -> dict[str, int]:
        """Stream to the offset of its newest event, 0 when there is none."""
        return dict(self._tips)

    def is_journaled(self, kind: str) -> bool:
        """Whether `kind` is a stream."""
        return kind in self._tips

    def next_offset(self, stream: str) -> int:
        """The offset of the next event of `stream`."""
        return self._tips[stream] + 1

    def advance(self, stream: str, count: int) -> None:
        """The next `count` events of `stream` are in the journal."""
        self._tips[stream] += count
