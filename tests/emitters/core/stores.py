"""A store that remembers in memory what the outbox gave it."""

from collections.abc import Iterable, Sequence
from typing import Self

from emitters.core.outgoing import Outgoing
from emitters.errors import SpoolUnavailable


class RecordingStore:
    """Keeps events as the spool does, and refuses them while `full`."""

    def __init__(self) -> None:
        self.events: dict[int, Outgoing] = {}
        self.acknowledged = 0
        self.full = False
        self.epoch = 0
        self.relay_epoch: int | None = None
        self.proof: bytes | None = None
        self.is_open = True
        self._sent: int | None = 0
        """The last number sent before this process; None once it has met the relay."""

    def open(self) -> Self:
        """Be what an emitter that starts now finds."""
        self.is_open = True
        if self._sent is None:
            self._sent = self.acknowledged + len(self.events)
        return self

    @property
    def sent(self) -> int:
        """The last number that an earlier process may have sent."""
        assert self._sent is not None, "not opened"
        return max(self._sent, self.acknowledged)

    def keep_epoch(self, epoch: int) -> None:
        """Note the epoch that a relay has handed out."""
        self._refuse_when_full()
        self.epoch = epoch

    def keep_relay_epoch(self, epoch: int) -> None:
        """Note the relay's epoch."""
        self.relay_epoch = epoch

    def relay_was_met(self) -> None:
        """Anything may be sent."""
        self._refuse_when_full()
        self._sent = None

    @property
    def kept(self) -> list[Outgoing]:
        """The events that an emitter that starts now finds."""
        return [self.events[sequence] for sequence in sorted(self.events)]

    def append(self, first: int, events: Sequence[Outgoing]) -> None:
        """Keep `events`."""
        self._refuse_when_full()
        for sequence, event in enumerate(events, first):
            assert sequence == self.acknowledged + len(self.events) + 1
            self.events[sequence] = event

    def forget(self, sequence: int, proof: bytes | None = None) -> None:
        """Drop what is acknowledged."""
        assert self.is_open
        self.acknowledged, self.proof = sequence, proof
        self.events = {key: event for key, event in self.events.items() if key > sequence}

    def rewrite(
        self, acknowledged: int, events: Iterable[Outgoing], proof: bytes | None = None
    ) -> None:
        """Keep `events` alone."""
        self._refuse_when_full()
        self.proof = proof
        self.acknowledged = self._sent = acknowledged
        self.events = dict(enumerate(events, acknowledged + 1))

    def close(self) -> None:
        """Be of no use any more; a second time too."""
        self.is_open = False

    def _refuse_when_full(self) -> None:
        if self.full:
            raise SpoolUnavailable("no room")
