"""Covers any number of wanted topics by a bounded number of ZeroMQ subscriptions.

ZeroMQ stores a subscription as a tree of its bytes, at 70 to 140 bytes of memory a byte, in every
process on its way. So a subscriber asks for a few prefixes and filters the rest by itself.
`CoveringPrefixes` covers one multiset of prefixes; `Routes` covers two of them and marks the ones
that are only filtered (protocol section 4).
"""

from collections.abc import Iterator

from relay.wire.demand import FILTERED_PREFIX

MAX_PREFIXES = 32
"""Prefixes of one kind that are subscribed to one by one; above it, the kind as a whole."""
MAX_KINDS = 16
"""Kinds that are told apart; above it, everything is subscribed to."""


class _Kind:
    """The wanted prefixes of one kind."""

    __slots__ = ("counts", "is_wide")

    def __init__(self) -> None:
        self.counts: dict[bytes, int] = {}
        """Prefix to how often it is wanted."""
        self.is_wide = False


class CoveringPrefixes:
    """A multiset of prefixes, and the bounded set that covers it.

    A kind with more than `MAX_PREFIXES` is covered as a whole, and so is everything with more than
    `MAX_KINDS`. Narrow prefixes return at half of these, so that a single subscriber at the limit
    does not change the cover with every step. Prefixes that end within a kind count as one kind.
    """

    def __init__(self) -> None:
        self._kinds: dict[bytes, _Kind] = {}
        """The whole of a kind, such as `live:`, to the kind; `b""` for prefixes without a colon."""
        self._covers_all = False
        self._cover: frozenset[bytes] | None = frozenset()
        """None until it is computed again."""

    @property
    def cover(self) -> frozenset[bytes]:
        """Prefixes such that each wanted one starts with one of them; about 500 at most."""
        if self._cover is None:
            self._cover = frozenset((b"",) if self._covers_all else self._prefixes())
        return self._cover

    def add(self, prefix: bytes) -> None:
        """Want the topics that start with `prefix`, once more."""
        whole = _whole_kind(prefix)
        kind = self._kinds.get(whole)
        if kind is None:
            kind = self._kinds[whole] = _Kind()
            self._covers_all = self._covers_all or len(self._kinds) > MAX_KINDS
            self._cover = None
        kind.counts[prefix] = kind.counts.get(prefix, 0) + 1
        if not kind.is_wide:
            kind.is_wide = len(kind.counts) > MAX_PREFIXES
            self._cover = None

    def remove(self, prefix: bytes) -> None:
        """Undo one `add` of `prefix`."""
        whole = _whole_kind(prefix)
        kind = self._kinds[whole]
        kind.counts[prefix] -= 1
        if kind.counts[prefix]:
            return
        del kind.counts[prefix]
        if not kind.counts:
            del self._kinds[whole]
            self._covers_all = self._covers_all and len(self._kinds) > MAX_KINDS // 2
            self._cover = None
        elif not kind.is_wide or len(kind.counts) <= MAX_PREFIXES // 2:
            kind.is_wide = False
            self._cover = None

    def _prefixes(self) -> Iterator[bytes]:
        for whole, kind in self._kinds.items():
            if kind.is_wide:
                yield whole
            else:
                yield from kind.counts


class Routes:
    """The subscriptions of one socket for wanted topics and wanted prefixes.

    Every topic that starts with a wanted prefix is meant, so its cover is subscribed to plainly. Of
    wanted topics each is meant alone: beside their cover stands the hint `!filtered:`, and the
    demand names them. Without `is_filtered` there is no demand, and so no hint.
    """

    def __init__(self) -> None:
        self._topics = CoveringPrefixes()
        self._prefixes = CoveringPrefixes()
        self.is_filtered = True
        """Whether the demand names every wanted topic."""
        self._made: frozenset[bytes] = frozenset()
        """The prefixes that `take_changes` has returned as made."""
        self._filtered: frozenset[bytes] = frozenset()
        """Those of them that have a hint."""
        self._last: tuple[frozenset[bytes], frozenset[bytes], bool] | None = None

    def add(self, prefix: bytes, *, exact: bool) -> None:
        """Want the topic `prefix` if `exact`, else every topic that starts with it."""
        (self._topics if exact else self._prefixes).add(prefix)

    def remove(self, prefix: bytes, *, exact: bool) -> None:
        """Undo one `add` with the same arguments."""
        (self._topics if exact else self._prefixes).remove(prefix)

    def covers(self) -> Iterator[tuple[bytes, bool]]:
        """Yield the covering prefixes, each with whether it is wanted as a topic and alone."""
        prefixes = self._prefixes.cover
        yield from ((prefix, False) for prefix in prefixes)
        for prefix in self._topics.cover - prefixes:
            # A topic has a name, so the whole of a kind is none.
            yield prefix, prefix != _whole_kind(prefix)

    def take_changes(self) -> list[tuple[bool, bytes]]:
        """Return the subscriptions to make (True) and to end (False) since the last call, in order.

        A hint is there before its prefix and for as long, so that nobody takes a filtered prefix
        for a plain one. All that is wanted before and after is there in between: the new prefixes
        come first, plain ones become filtered after that, and the old prefixes end last.
        """
        current = (self._topics.cover, self._prefixes.cover, self.is_filtered)
        # Usually the covers are the very sets of the last call.
        if self._last is not None and all(map(_is_same, current, self._last)):
            return []
        self._last = current
        topics, prefixes, is_filtered = current
        filtered = topics - prefixes if is_filtered else frozenset()
        old, new = self._made, topics | prefixes
        old_filtered, self._filtered = self._filtered, filtered
        self._made = new
        kept = old & new
        return [
            *((True, FILTERED_PREFIX + each) for each in filtered - old),
            *((True, each) for each in new - old),
            *((False, FILTERED_PREFIX + each) for each in old_filtered & kept - filtered),
            *((True, FILTERED_PREFIX + each) for each in filtered & kept - old_filtered),
            *((False, each) for each in old - new),
            *((False, FILTERED_PREFIX + each) for each in old_filtered - new),
        ]


def _is_same(left: object, right: object) -> bool:
    return left is right


def _whole_kind(prefix: bytes) -> bytes:
    """Return the shortest prefix of the same kind, empty if the kind is not complete."""
    kind, colon, _ = prefix.partition(b":")
    return kind + colon if colon else b""
