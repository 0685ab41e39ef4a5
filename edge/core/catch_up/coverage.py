"""Which events a connection's live subscriptions have brought it (protocol section 7, "Resume").

A client may resume one subscription while another brings the same events live. Without a record of
what came live, the replay would send those events a second time.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from edge.core.catch_up.selector_index import SelectorIndex
from edge.core.streams.streams import Streams
from relay.wire.topics import Pattern

NO_OFFSETS: Mapping[str, int] = {}
BEYOND_ALL = 2**64
"""Greater than every offset."""
MAX_ENDED = 16
"""Ended coverages of one pattern in one catch-up; beyond it the two oldest are joined."""


@dataclass(slots=True, eq=False)
class Coverage:
    """The offsets of each stream at which one subscription has brought all matching events."""

    pattern: Pattern
    selectors: tuple[Pattern, ...]
    after: Mapping[str, int]
    """Stream to the offset after which the subscription has brought every matching event."""
    until: Mapping[str, int] | None = None
    """Stream to the last offset that the subscription has brought; None while it is live."""

    def span(self, stream: str) -> tuple[int, int] | None:
        """Return the offsets `(after, until]` at which it covers its topics of `stream`, if any."""
        if stream not in self.after:
            return None
        return self.after[stream], BEYOND_ALL if self.until is None else self.until.get(stream, 0)

    def joined(self, later: "Coverage") -> "Coverage":
        """Return one ended coverage that spans this one, `later` and the offsets between them."""
        ends, later_ends = self.until or NO_OFFSETS, later.until or NO_OFFSETS
        return Coverage(
            self.pattern,
            tuple(dict.fromkeys(self.selectors + later.selectors)),
            {**later.after, **self.after},
            {**ends, **later_ends},
        )


class CoverageList:
    """The coverages that count in one catch-up: of live subscriptions, and of those that ended."""

    def __init__(self, live: list[Coverage]) -> None:
        self._coverages = live
        self._index = _index_of(live)

    def __len__(self) -> int:
        return len(self._coverages)

    def spans(self, topic: str, stream: str) -> tuple[tuple[int, int], ...]:
        """Return the spans `(after, until]` of offsets that are covered on `topic`."""
        spans = (each.span(stream) for each in self._index.matching(topic))
        return tuple(span for span in spans if span is not None)

    def replace(self, pattern: Pattern, heads: Mapping[str, int], live: Coverage | None) -> None:
        """End the live coverage of `pattern` at `heads`; continue it as `live`, if at all."""
        for each in self._coverages:
            if each.pattern == pattern and each.until is None:
                each.until = heads
        if live is not None:
            self._join_oldest(pattern)
            self._coverages.append(live)
            self._index = _index_of(self._coverages)

    def _join_oldest(self, pattern: Pattern) -> None:
        """Keep the number of ended coverages of `pattern` within `MAX_ENDED`.

        Only a prefix of several kinds, such as `*`, continues with other selectors after a change
        of role, so only a client that changes its role again and again gets here. The events
        between two coverages are those that one of its roles did not permit; a resume of them is
        not `recovered` in any case.
        """
        ended = [each for each in self._coverages if each.pattern == pattern]
        if len(ended) > MAX_ENDED:
            oldest, second = ended[:2]
            self._coverages.remove(second)
            self._coverages[self._coverages.index(oldest)] = oldest.joined(second)


def _index_of(coverages: Iterable[Coverage]) -> SelectorIndex[Coverage]:
    return SelectorIndex((each, each.selectors) for each in coverages)


class LiveCoverage:
    """The offset after which each live subscription of one connection has brought all events."""

    __slots__ = ("_after", "_epoch", "_streams")

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._epoch = streams.epoch
        """The epoch of the offsets in `_after`."""
        self._after: dict[Pattern, dict[str, int]] = {}

    def add(
        self,
        pattern: Pattern,
        selectors: tuple[Pattern, ...],
        since: Mapping[str, int],
        before: Mapping[str, int],
    ) -> None:
        """The subscription to `pattern` is live as of the present heads.

        `since` maps streams to the offsets after which a catch-up has just sent every event, and
        `before` to those after which an earlier subscription to `pattern` did (see `after`).
        """
        self._follow_epoch()
        after: dict[str, int] = {}
        for stream, head in self._streams.offsets_concerning(selectors).items():
            covered = since.get(stream, head)
            after[stream] = min(covered, before.get(stream, covered))
        self._after[pattern] = after

    def remove(self, pattern: Pattern) -> None:
        """The subscription to `pattern` has ended. Unknown ones are ignored."""
        self._after.pop(pattern, None)

    def after(self, pattern: Pattern, selectors: tuple[Pattern, ...]) -> dict[str, int]:
        """Return stream to the offset after which the subscription has brought all its events.

        `selectors` are those that stand for `pattern` at the manager.
        """
        self._follow_epoch()
        # A stream that the edge began to follow after the subscribe is covered from its beginning.
        streams = self._streams.offsets_concerning(selectors)
        begun = {stream: self._streams.beginnings[stream] for stream in streams}
        return begun | self._after.get(pattern, {})

    def coverages(self, live: Mapping[Pattern, tuple[Pattern, ...]]) -> CoverageList:
        """Return the coverage of every `live` subscription, for a catch-up that begins now."""
        return CoverageList(
            [
                Coverage(pattern, selectors, self.after(pattern, selectors))
                for pattern, selectors in live.items()
            ]
        )

    def _follow_epoch(self) -> None:
        """Forget offsets of another epoch than the present one, before any is read or added."""
        if self._epoch != self._streams.epoch:
            # Offsets began anew: each live subscription has brought all events of this epoch.
            self._epoch = self._streams.epoch
            self._after = {each: {} for each in self._after}
