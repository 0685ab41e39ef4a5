"""`AnswerSize`: how many bytes to request at a time, from how fast answers came (section 4)."""

from relay.wire.control_message import MAX_PAGE_BYTES

TARGET_S = 0.5
"""An answer that takes longer on its way makes the next one smaller."""
MIN_BYTES = 16 * 1024
FIRST_BYTES = 256 * 1024


class AnswerSize:
    """The bound for the next answer, between `MIN_BYTES` and the relay's `MAX_PAGE_BYTES`.

    Over a slow connection one large answer would delay every other one behind it, and look like a
    relay that does not answer. A single event that is larger than the bound comes nevertheless.
    """

    def __init__(self) -> None:
        self.max_bytes = FIRST_BYTES
        """The bytes to request next."""

    def take_answer(self, size: int, seconds: float) -> None:
        """Take an answer of `size` bytes that came `seconds` after its request or its predecessor.

        The later of both counts: answers come one after another.
        """
        if seconds <= TARGET_S:
            self.max_bytes = min(MAX_PAGE_BYTES, 2 * self.max_bytes)
        else:
            fitting = int(min(size, self.max_bytes) * TARGET_S / seconds)
            self.max_bytes = max(MIN_BYTES, fitting)
