"""`Streams`: how far this edge has followed each stream, and which of its events it remembers."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from edge.core.hub.served import is_served
from edge.core.stats import Dropped
from edge.core.streams.follower import Replayed, StreamFollower
from edge.core.streams.history import History, PageMemory
from edge.core.streams.record import Record
from relay.wire.control import Head, Heartbeat
from relay.wire.topics import REVOCATION, Pattern

DEFAULT_HISTORY_BYTES = 64 * 1024 * 1024


class EdgePlace(NamedTuple):
    """How far an edge has followed the streams of an epoch."""

    epoch: int
    heads: dict[str, Head]


class Stream:
    """One stream. `follower` brings its records in order, `history` remembers them.

    Every record that the follower releases is remembered at once, so `history.head` is always the
    follower's position.
    """

    __slots__ = ("follower", "history", "kind")

    def __init__(self, kind: str, follower: StreamFollower, history: History) -> None:
        self.kind = kind
        """The name of the stream: the kind of its topics."""
        self.follower = follower
        self.history = history

    @property
    def head_checksum(self) -> int | None:
        """The checksum of the newest event, None if it is not remembered or was unreadable."""
        newest = self.history.after(self.history.head - 1) if self.history.head else None
        return newest[0].checksum if newest else None

    def take_live(self, record: Record) -> Sequence[Record]:
        """Take a record that has just arrived; return the records to be forwarded now."""
        released = self.follower.take_live(record)
        for each in released:
            self.history.append(each)
        return released

    def take_replay(self, records: Iterable[Record], first: int, last: int) -> Replayed:
        """Take a replay: `records` of a journal that holds the offsets `first` to `last`."""
        replayed = self.follower.take_replay(records, first, last)
        self.history.raise_journal_first(first)
        if replayed.gap is not None:
            self.history.skip_to(replayed.gap[1] + 1)
        for each in replayed.records:
            self.history.append(each)
        return replayed


class Streams:
    """Every stream that this edge follows for its clients, under the relay's epoch.

    All events up to a stream's head have been handed to the connections that were subscribed.
    """

    def __init__(
        self,
        served_prefixes: tuple[str, ...] = ("",),
        history_bytes: int = DEFAULT_HISTORY_BYTES,
        dropped: Dropped | None = None,
        unreadable: Counter[str] | None = None,
    ) -> None:
        """`dropped` counts events not forwarded, `unreadable` events that no client can be sent."""
        self.epoch = 0
        self.unreadable = Counter[str]() if unreadable is None else unreadable
        """Malformed events that resuming clients asked for, by reason."""
        self.serves_all = "" in served_prefixes
        """Whether `serves` is true of every topic."""
        self._dropped = Dropped() if dropped is None else dropped
        self._served_prefixes = served_prefixes
        self._memory = PageMemory(history_bytes)
        self._started_at = 0
        """The start time of the relay process that is followed."""
        self._disputed: dict[str, Head] = {}
        """Events that the relay's journal cannot hold, until its next epoch."""
        self._joined: dict[str, int] = {}
        """Stream to its head when that process was first followed."""
        self._streams: dict[str, Stream] = {}
        self.beginnings: dict[str, int] = {}
        """Stream to the offset after which it is followed in this epoch."""

    def __iter__(self) -> Iterator[Stream]:
        return iter(self._streams.values())

    @property
    def offsets(self) -> dict[str, int]:
        """Each stream, to its head."""
        return {kind: stream.history.head for kind, stream in self._streams.items()}

    @property
    def remembered_bytes(self) -> int:
        """Memory of all histories together."""
        return self._memory.used_bytes

    def is_stream(self, kind: str) -> bool:
        """Whether `kind` is journaled, and followed here."""
        return kind in self._streams

    def get(self, kind: str) -> Stream | None:
        """Return the stream of `kind`, None if there is none."""
        return self._streams.get(kind)

    def contain(self, selector: Pattern) -> bool:
        """Whether every topic that `selector` matches belongs to one stream."""
        kind, colon, _ = selector.prefix.partition(":")
        return bool(colon) and self.is_stream(kind)

    def serves(self, topic: str) -> bool:
        """Whether clients of this edge receive events on `topic`."""
        return topic.startswith(self._served_prefixes)

    @property
    def place(self) -> EdgePlace | None:
        """How far each stream was followed, None before the first synchronization."""
        if not self.epoch:
            return None
        heads = {kind: (each.history.head, each.head_checksum) for kind, each in self._items()}
        return EdgePlace(self.epoch, heads | self._disputed)

    def are_ahead_of(self, heartbeat: Heartbeat) -> bool:
        """Whether a stream has events that the journal of the relay process does not hold.

        Its journal ends before them; or it has given their offsets to other events since, as the
        first event of the process shows: ours at that offset is older than the process.
        """
        return any(self._is_ahead(kind, stream, heartbeat) for kind, stream in self._items())

    def _is_ahead(self, kind: str, stream: Stream, heartbeat: Heartbeat) -> bool:
        history = stream.history
        if history.head > heartbeat.tips.get(kind, history.head):
            return True
        first = history.after((heartbeat.start or {}).get(kind, history.head))
        if first is None or first[0].relayed_at >= heartbeat.started_at:
            return False
        if first[0].checksum is None:
            # A placeholder says nothing of the event.
            return False
        self._disputed[kind] = first[0].offset, first[0].checksum
        return True

    def begins(self, heartbeat: Heartbeat) -> dict[str, int]:
        """Return where the streams begin if clients have stayed and a new epoch begins.

        Then they are to receive every event of that epoch, from where it began; unless it does not
        continue the epoch that they know.
        """
        if heartbeat.started_at != self._started_at:
            self._started_at = heartbeat.started_at
            self._joined = self.offsets
        if heartbeat.previous != self.epoch:
            return heartbeat.tips
        shared = heartbeat.began or {}
        begins: dict[str, int] = {}
        for kind, last in heartbeat.tips.items():
            began = min(last, shared.get(kind, 0))
            # The place before this relay process was followed decides whether the events up to the
            # head are those of the journal: later ones came from this process itself.
            keeps = kind in self._streams and self._joined.get(kind, 0) <= began
            begins[kind] = min(last, self._streams[kind].history.head) if keeps else began
        return begins

    def synchronize(
        self,
        epoch: int,
        last_offsets: Mapping[str, int],
        first_offsets: Mapping[str, int],
        begins: Mapping[str, int] | None = None,
    ) -> None:
        """Follow the relay from now on: every event after `last_offsets` will arrive.

        In the same epoch every stream keeps its place, because the relay can replay the events that
        were missed. In another epoch the old offsets mean nothing, and streams begin after
        `begins`, or without it after `last_offsets`.
        """
        for kind in list(self._streams):
            if epoch != self.epoch or kind not in last_offsets:
                self._end(kind)
        self.epoch = epoch
        self._disputed.clear()
        for kind, last in (begins or last_offsets).items():
            if kind == REVOCATION or not is_served(kind, self._served_prefixes):
                # `RevocationStream` follows that one: it is for no client.
                continue
            if kind not in self._streams:
                follower = StreamFollower(kind, last, self._dropped)
                self._streams[kind] = Stream(kind, follower, History(self._memory, last))
                self.beginnings[kind] = last
            self._streams[kind].follower.forget_request()
        self.take_heartbeat(last_offsets, first_offsets)

    def take_heartbeat(
        self, last_offsets: Mapping[str, int], first_offsets: Mapping[str, int]
    ) -> None:
        """Take the last and first offset of each stream in the relay's journal."""
        for kind, stream in self._streams.items():
            stream.follower.take_last_offset(last_offsets.get(kind, 0))
            stream.history.raise_journal_first(first_offsets.get(kind, 1))

    def offsets_concerning(self, selectors: Iterable[Pattern]) -> dict[str, int]:
        """Return the streams that `selectors` can match, each to its head."""
        wanted = tuple(selectors)
        return {
            kind: stream.history.head
            for kind, stream in self._streams.items()
            if any(selector.concerns(kind) for selector in wanted)
        }

    def _items(self) -> Iterable[tuple[str, Stream]]:
        return self._streams.items()

    def _end(self, kind: str) -> None:
        ended = self._streams.pop(kind)
        self._memory.remove(ended.history)
        # Held records will not be forwarded any more: they count, so that the sums stay right.
        self._dropped.out_of_order[kind] += ended.follower.held_count
        del self.beginnings[kind]
