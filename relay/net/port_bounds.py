"""`PortBounds`: how many bytes may wait at one port."""

from typing import NamedTuple


class PortBounds(NamedTuple):
    """The bytes that may wait at one port."""

    unread_bytes: int
    """For a peer that does not read. Beyond it the peer is cut off, or with `pauses` not read."""
    total_unread_bytes: int
    """For all peers together. Beyond it, the one for which most waits is cut off."""
    total_incomplete_bytes: int
    """Of messages that have come in part, from all peers together; likewise."""
    pauses: bool = False
    """Whether a peer that does not read its answers is not read either, instead of cut off."""
