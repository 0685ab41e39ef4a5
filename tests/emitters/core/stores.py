"""A store that remembers in memory what the outbox gave it."""

from collections.abc import Iterable

from emitters.core.outgoing import Outgoing
from emitters.errors import SpoolUnavailable


class RecordingStore:
    """Keeps events as the spool does, and refuses them while `full`."""

    def __init__(self) -> None:
        self.events: dict[int, Outgoing] = {}
        self.acknowledged = 0
        self.full = False

    @property
    def kept(self) -> list[Outgoing]:
        """What an emitter that starts now finds."""
        return [self.events[sequence] for sequence in sorted(self.events)]

    def append(self, sequence: int, event: Outgoing) -> None:
        """Keep `event`."""
        self._refuse_when_full()
        assert sequence == self.acknowledged + len(self.events) + 1
        self.events[sequence] = event

    def forget(self, sequence: int) -> None:
        """Drop what is acknowledged."""
        self.acknowledged = sequence
        self.events = {key: event for key, event in self.events.items() if key > sequence}

    def rewrite(self, acknowledged: int, events: Iterable[Outgoing]) -> None:
        """Keep `events` alone."""
        self._refuse_when_full()
        self.acknowledged = acknowledged
        self.events = dict(enumerate(events, acknowledged + 1))

    def _refuse_when_full(self) -> None:
        if self.full:
            raise SpoolUnavailable("no room")
