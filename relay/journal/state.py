"""The content of a journal, as far as it is known without reading events."""

from collections.abc import Mapping
from typing import NamedTuple

from relay.core.epochs import Origin
from relay.core.proofs import Proofs

NEVER_MS = 2**63 - 1


class StreamState(NamedTuple):
    """The content of one stream of the journal."""

    first_offset: int
    """`last_offset + 1` when the stream is empty."""
    last_offset: int
    """0 before the first event."""
    stored_bytes: int
    oldest_at: int
    """When the first event was relayed, Unix time in milliseconds; `NEVER_MS` when empty."""
    retired: int
    """Events that retention has removed since this process started."""
    newest_at: int = 0
    """When the last event was relayed; 0 when the stream is empty."""


class JournalState(NamedTuple):
    """The journal after a commit."""

    origin: Origin
    rollbacks: int
    """How often an epoch began because acknowledged events were missing."""
    place: tuple[int, int]
    """Device and number of the file."""
    streams: Mapping[str, StreamState]
    knows_all_emitters: bool
    """Whether no cursor of an emitter is gone: then the journal never had an event of an emitter
    that it does not know."""
    proofs: Proofs
    """Of acknowledgements of this journal."""
