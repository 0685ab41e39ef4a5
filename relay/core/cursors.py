"""How far the relay has come with the events of each emitter."""

from relay.wire.header import Header
from relay.wire.newest import Newest

MAX_EMITTERS = 100_000


class Cursors:
    """The last sequence number of each emitter, of the emitters heard last."""

    def __init__(self) -> None:
        self._last: Newest[bytes, tuple[int, int]] = Newest(MAX_EMITTERS, MAX_EMITTERS, lambda _: 1)
        """Emitter id to epoch and sequence number."""

    def advance(self, header: Header) -> None:
        """An event with `header` arrived; live events, which are not numbered, say nothing."""
        if header.sequence:
            self._last.keep(header.emitter_id, (header.epoch, header.sequence))

    def sequence_of(self, emitter_id: bytes) -> int:
        """The last sequence number of `emitter_id`, 0 if none is known."""
        last = self._last.get(emitter_id)
        return 0 if last is None else last[1]
