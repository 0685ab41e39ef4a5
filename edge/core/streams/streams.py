"""How far this edge has come in each stream, and what it remembers of it."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from edge.core.hub.overlap import concerns, may_overlap
from edge.core.stats import Dropped
from edge.core.streams.follower import StreamFollower
from edge.core.streams.history import History, PageMemory
from relay.wire.topics import Pattern

DEFAULT_HISTORY_BYTES = 64 * 1024 * 1024
MAX_REMEMBERED = 4096
FEW_SELECTORS = 16
"""What is asked for with more is not remembered, for that would take more than it saves."""


class Stream:
    """One stream: `follower` brings its events in order, `history` remembers them."""

    __slots__ = ("follower", "history", "kind")

    def __init__(self, kind: str, follower: StreamFollower, history: History) -> None:
        self.kind = kind
        self.follower = follower
        self.history = history


class Streams:
    """Every stream that this edge follows, under the relay's epoch.

    Everything up to a stream's position has been sent to whoever was subscribed.
    """

    def __init__(
        self,
        served_prefixes: tuple[str, ...] = ("",),
        history_bytes: int = DEFAULT_HISTORY_BYTES,
        dropped: Dropped | None = None,
        unreadable: Counter[str] | None = None,
    ) -> None:
        """`dropped` counts what is not forwarded, `unreadable` what cannot be sent again."""
        self.epoch = 0
        self.unreadable = Counter[str]() if unreadable is None else unreadable
        """Events that could not be read, by reason."""
        self._dropped = Dropped() if dropped is None else dropped
        self._served_prefixes = served_prefixes
        self._memory = PageMemory(history_bytes)
        self._streams: dict[str, Stream] = {}
        self._concerned: dict[tuple[Pattern, ...], tuple[str, ...]] = {}
        """By selectors: the streams that they can match, as far as somebody has asked."""
        self.beginnings: dict[str, int] = {}
        """Stream to the position from which it is followed in this epoch."""

    def __iter__(self) -> Iterator[Stream]:
        return iter(self._streams.values())

    @property
    def offsets(self) -> dict[str, int]:
        """Stream to position."""
        return {kind: stream.history.head for kind, stream in self._streams.items()}

    @property
    def remembered_bytes(self) -> int:
        """What all histories together take."""
        return self._memory.used_bytes

    def is_stream(self, kind: str) -> bool:
        """Whether `kind` is journaled, and followed here."""
        return kind in self._streams

    def get(self, kind: str) -> Stream | None:
        """The stream of `kind`, None if there is none."""
        return self._streams.get(kind)

    def contain(self, selector: Pattern) -> bool:
        """Whether every topic that `selector` matches belongs to one stream."""
        kind, colon, _ = selector.prefix.partition(":")
        return bool(colon) and self.is_stream(kind)

    def serves(self, topic: str) -> bool:
        """Whether clients of this edge get events on `topic`."""
        return topic.startswith(self._served_prefixes)

    def synchronize(self, epoch: int, tips: Mapping[str, int], low: Mapping[str, int]) -> None:
        """Follow the relay, whose newest events are `tips`: what follows will arrive.

        In the epoch that was followed before, every stream keeps its place, for what was missed
        can be replayed. In another one the old places mean nothing, and streams begin behind
        `tips`.
        """
        for kind in list(self._streams):
            if epoch != self.epoch or kind not in tips:
                ended = self._streams.pop(kind)
                self._memory.remove(ended.history)
                self._dropped.out_of_order[kind] += ended.follower.held_count
                del self.beginnings[kind]
        self.epoch = epoch
        self._concerned.clear()
        for kind, tip in tips.items():
            if not any(may_overlap(prefix, f"{kind}:") for prefix in self._served_prefixes):
                continue
            stream = self._streams.get(kind)
            if stream is None:
                follower = StreamFollower(kind, tip, self._dropped)
                stream = Stream(kind, follower, History(self._memory, tip))
                self._streams[kind] = stream
                self.beginnings[kind] = tip
            stream.follower.forget_request()
        self.hear(tips, low)

    def hear(self, tips: Mapping[str, int], low: Mapping[str, int]) -> None:
        """The relay says how far streams reach."""
        for kind, stream in self._streams.items():
            stream.follower.behind(tips.get(kind, 0))
            stream.history.low = max(stream.history.low, low.get(kind, 1))

    def concerning(self, selectors: Iterable[Pattern]) -> dict[str, int]:
        """The positions of the streams that `selectors` can match."""
        wanted = tuple(selectors)
        kinds = self._concerned.get(wanted)
        if kinds is None:
            kinds = tuple(
                kind
                for kind in self._streams
                if any(concerns(selector, kind) for selector in wanted)
            )
            if len(wanted) <= FEW_SELECTORS:
                if len(self._concerned) >= MAX_REMEMBERED:
                    self._concerned.clear()
                self._concerned[wanted] = kinds
        return {kind: self._streams[kind].history.head for kind in kinds}
