"""Numbers the events of each stream.

A stream is a journaled kind. Its offsets are 1, 2, 3… under one epoch, the same for all streams
of a relay.
"""

from relay.wire.header import Stamp


class Sequencer:
    """Gives every event of a journaled kind the next offset of its stream."""

    def __init__(self, epoch: int, journaled_kinds: tuple[str, ...]) -> None:
        self.epoch = epoch
        self._tips = dict.fromkeys(journaled_kinds, 0)

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

    def stamp(self, kind: str, now_ms: int) -> Stamp:
        """Return the stamp of the next event of `kind`; live kinds get offset 0."""
        if kind not in self._tips:
            return Stamp(self.epoch, 0, now_ms)
        offset = self._tips[kind] + 1
        self._tips[kind] = offset
        return Stamp(self.epoch, offset, now_ms)
