"""The changes that one transaction brings to the journal."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from relay.core.emitters import Cursor
from relay.journal.reader import StoredTask
from relay.wire.header import ReceivedFrames


class Run(NamedTuple):
    """Consecutive events of one stream, stored as one row."""

    first_offset: int
    relayed_at: int
    """Unix time in milliseconds."""
    events: Sequence[ReceivedFrames]

    @property
    def last_offset(self) -> int:
        """The offset of the last event."""
        return self.first_offset + len(self.events) - 1


class JournalBatch(NamedTuple):
    """The changes of one transaction."""

    runs: Mapping[str, Run]
    """By stream."""
    cursors: Iterable[Cursor] = ()
    tasks: Iterable[StoredTask] = ()
    """New states, which replace older states of the same task."""
    forgotten_tasks: Iterable[str] = ()
    """Topics whose states are removed, before `tasks` are written."""
    heard_at: int = 0
    """When the emitters of `cursors` were heard, Unix time in seconds."""
    once: Sequence[bytes] = ()
    """Digests of the ids that were taken once: see `relay.core.once`."""
