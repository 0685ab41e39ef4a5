"""`RevocationStream`: follows the revoked tokens from the first event of their stream (section 6).

Other streams begin at their end. This one is short, and is read as a whole: so a worker knows all
that is revoked before it lets anybody in, and the relay's journal is the only store.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from edge.core.identity.revocations import Revocations
from edge.core.stats import EdgeStats
from edge.core.streams.follower import StreamFollower
from edge.core.streams.record import Record, Warn
from relay.wire.envelope import unpack_envelope
from relay.wire.errors import WireError
from relay.wire.revocations import Revocation, read_revocation
from relay.wire.topics import REVOCATION


class RevocationTaker(Protocol):
    """Acts on revocations."""

    def revoked(self, revocation: Revocation) -> None:
        """Tokens were revoked that were not before."""

    def journal_lacks(self, revocations: Iterable[Revocation]) -> None:
        """The relay's journal has lost `revocations`, which this worker knows."""


class RevocationStream:
    """Brings every event of the stream into `revocations`, in order."""

    def __init__(
        self,
        revocations: Revocations,
        taker: RevocationTaker,
        stats: EdgeStats,
        relay_time: Callable[[], int],
        warn: Warn,
    ) -> None:
        """`relay_time` returns Unix time in milliseconds by the relay's clock."""
        self._revocations = revocations
        self._taker = taker
        self._stats = stats
        self._relay_time = relay_time
        self._follower: StreamFollower | None = None
        self._epoch = 0
        self._is_reading = False
        """Whether the stream is read from its begin, and not to its end yet."""
        self._has_hole = False
        """Whether events before the next one are lost."""
        self._warn = warn

    @property
    def is_behind(self) -> bool:
        """Whether an event that exists has not arrived."""
        return self._follower is not None and self._follower.is_behind

    def synchronize(self, epoch: int, last_offsets: Mapping[str, int]) -> None:
        """Follow the relay from now on: every event after `last_offsets` will arrive."""
        if REVOCATION not in last_offsets:
            # A relay that knows no revocations keeps none.
            self._follower = None
            self._revocations.is_known = True
            return
        follower, last = self._follower, last_offsets[REVOCATION]
        if follower is None or epoch != self._epoch or last < follower.position:
            self._epoch, self._is_reading, self._has_hole = epoch, True, False
            self._revocations.begin_reading()
            follower = self._follower = StreamFollower(REVOCATION, 0, self._stats.dropped)
        follower.forget_request()
        self.take_heartbeat(last_offsets)

    def take_heartbeat(self, last_offsets: Mapping[str, int]) -> None:
        """Take the last offset of the stream in the relay's journal."""
        if self._follower is not None:
            self._follower.take_last_offset(last_offsets.get(REVOCATION, 0))
            self._settle()

    def take_event(self, epoch: int, record: Record) -> None:
        """Take an event that has just arrived."""
        follower = self._follower
        if follower is None or epoch != self._epoch:
            self._stats.dropped.out_of_order[REVOCATION] += 1
        elif record.offset > follower.next_offset:
            # Not held: the replay of what is missing brings it as well.
            follower.take_last_offset(record.offset)
            self._stats.dropped.out_of_order[REVOCATION] += 1
        else:
            self._take_all(follower.take_live(record))
            self._settle()

    def take_replay(
        self, epoch: int, records: Sequence[Record], first_offset: int, last_offset: int
    ) -> bool:
        """Take events that were missing; return False if that did not bring the stream on."""
        follower = self._follower
        if follower is None or epoch != self._epoch:
            return False
        replayed = follower.take_replay(records, first_offset, last_offset)
        if replayed.gap is not None:
            first, last = replayed.gap
            self._stats.retention[REVOCATION] += last - first + 1
            self._has_hole = True
        self._take_all(replayed.records)
        self._settle()
        return not follower.is_asked

    def replay_request(self) -> int | None:
        """Return the offset after which to request a replay, None if no request is due."""
        return None if self._follower is None else self._follower.replay_request()

    def forget_request(self) -> None:
        """The request that was made will not be answered."""
        if self._follower is not None:
            self._follower.forget_request()

    def _take_all(self, records: Iterable[Record]) -> None:
        for record in records:
            if record.is_lost:
                self._stats.malformed["damaged"] += 1
                self._has_hole = True
            else:
                self._take(record)

    def _take(self, record: Record) -> None:
        if self._has_hole:
            self._refuse_older(record.relayed_at)
        try:
            envelope = unpack_envelope(record.payload, REVOCATION)
            scope = record.topic.text.partition(":")[2]
            revocation = read_revocation(scope, envelope.data, record.relayed_at)
        except WireError as error:
            self._stats.malformed[error.reason] += 1
            self._warn("malformed", "a revocation is not understood: %s", error)
            return
        self._stats.events_filtered[REVOCATION] += 1
        if self._revocations.take(revocation, self._relay_time()):
            self._taker.revoked(revocation)

    def _refuse_older(self, than_ms: int) -> None:
        """Refuse all older tokens: nobody knows any more which of them were revoked."""
        self._has_hole = False
        self._warn(
            "hole",
            "the relay's journal lacks revocations: tokens that were issued before %d are refused",
            than_ms,
        )
        self._revocations.begin_after(than_ms)
        self._taker.revoked(Revocation(than_ms))

    def _settle(self) -> None:
        """Notice that the end of the stream is reached."""
        if self.is_behind:
            return
        if self._has_hole:
            self._refuse_older(self._relay_time())
        if self._is_reading:
            self._is_reading = False
            self._revocations.is_known = True
            self._taker.journal_lacks(self._revocations.unread())
