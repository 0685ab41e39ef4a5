"""Which records of a replay are for the connection (protocol section 7, "Resume")."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from edge.core.catch_up.coverage import BEYOND_ALL, Coverage, CoverageList
from edge.core.catch_up.selector_index import SelectorIndex
from edge.core.protocol.requests import Subscribe
from edge.core.streams.record import Record
from edge.core.streams.streams import Streams
from relay.wire.topics import PERSONAL_KINDS, Pattern, Topic

MAX_WINDOWS = 1024
"""Topics whose window one catch-up remembers, about 0.5 MiB; beyond it all are computed anew."""


@dataclass(slots=True, eq=False)
class PendingSubscription:
    """A subscription that goes live after a catch-up has sent the events that it missed."""

    request: Subscribe
    selectors: tuple[Pattern, ...]
    """Empty once the client's role no longer allows it."""
    since: dict[str, int] = field(default_factory=dict)
    """Stream to the offset after which it wants the events that nothing else has brought."""
    newest_until: dict[str, int] = field(default_factory=dict)
    """Stream to the offset up to which it wants every event after `since`: those of `last`."""
    recovered: bool = True
    """False once the client may have missed an event: another epoch, another role."""
    is_withdrawn: bool = False
    """The client unsubscribed while it was being caught up."""

    @property
    def is_active(self) -> bool:
        """Whether it still selects any event."""
        return bool(self.selectors) and not self.is_withdrawn

    def begin(self, streams: Streams) -> None:
        """The catch-up begins: find out what the client's offsets mean in the present epoch."""
        request = self.request
        if request.since is None:
            return
        if request.epoch != streams.epoch:
            self.recovered = False
            return
        concerned = streams.offsets_concerning(self.selectors).keys() - PERSONAL_KINDS
        self.since = {
            stream: offset for stream, offset in request.since.items() if stream in concerned
        }

    def selects(self, topic: str) -> bool:
        """Whether events on `topic` belong to it."""
        return self.is_active and any(selector.matches(topic) for selector in self.selectors)

    def restrict(self, selectors: tuple[Pattern, ...]) -> None:
        """The client has a new role, under which `selectors` stand for the pattern.

        Events that it was not permitted to see in between are not replayed, so the reply must not
        say `recovered`. A permission that was lost does not come back with a later role.
        """
        if self.selectors and selectors != self.selectors:
            self.selectors = selectors
            self.recovered = False


class Window(NamedTuple):
    """The offsets of one topic's events that are to be sent."""

    newest_after: int
    newest_until: int
    """Events in `(newest_after, newest_until]` are sent even if the client has received them."""
    since: int
    """Events after it are sent unless they are covered."""
    covered: tuple[tuple[int, int], ...]
    """The spans `(after, until]` of the events that live subscriptions have brought."""


class Selection:
    """Selects the records of one catch-up: by topic, once for each, and then by offset."""

    def __init__(
        self, pending: Sequence[PendingSubscription], coverage: CoverageList, streams: Streams
    ) -> None:
        """`coverage` counts the events that live subscriptions bring meanwhile."""
        self._pending = pending
        self._coverage = coverage
        self._streams = streams
        self._windows: dict[str, Window] = {}
        self._index = self._index_of_pending()
        self.comparisons = 0
        """Subscriptions and coverages that matched a new topic so far: the work of the catch-up."""

    @property
    def is_active(self) -> bool:
        """Whether there is still a subscription to catch up."""
        return any(each.is_active for each in self._pending)

    def offsets(self) -> tuple[dict[str, int], dict[str, int]]:
        """Return two maps: each stream to the lowest, and to the highest offset of the client.

        The lowest is where the replay begins; the highest is where a stream has to get.
        """
        lowest: dict[str, int] = {}
        highest: dict[str, int] = {}
        for each in self._pending:
            for stream, since in each.since.items():
                lowest[stream] = min(since, lowest.get(stream, since))
                highest[stream] = max(since, highest.get(stream, since))
        return lowest, highest

    def searches(self) -> list[tuple[PendingSubscription, str]]:
        """Return each subscription that asks for its newest events, with each stream to search."""
        return [
            (each, stream)
            for each in self._pending
            if each.request.last is not None
            for stream in self._streams.offsets_concerning(each.selectors)
            if stream not in PERSONAL_KINDS
        ]

    def wants(self, record: Record) -> bool:
        """Whether `record` is to be sent, as far as topic and offset decide it."""
        topic = record.topic
        window = self._windows.get(topic.text) or self._compute_window(topic)
        offset = record.offset
        if window.newest_after < offset <= window.newest_until:
            return True
        if offset <= window.since:
            return False
        return not any(after < offset <= until for after, until in window.covered)

    def set_newest(self, pending: PendingSubscription, stream: str, after: int, until: int) -> None:
        """The newest events that `pending` asks for are those in `(after, until]` of `stream`."""
        pending.since[stream] = after
        pending.newest_until[stream] = until
        self._windows.clear()

    def withdraw(self, pattern: Pattern) -> None:
        """The client has unsubscribed from `pattern`."""
        for each in self._pending:
            each.is_withdrawn |= each.request.pattern == pattern
        self._windows.clear()

    def restrict(self, selectors_of: Callable[[Pattern], tuple[Pattern, ...]]) -> None:
        """The client has a new role, under which `selectors_of` returns a pattern's selectors."""
        for each in self._pending:
            each.restrict(selectors_of(each.request.pattern))
        self._index = self._index_of_pending()
        self._windows.clear()

    def replace_coverage(
        self, pattern: Pattern, heads: Mapping[str, int], live: Coverage | None
    ) -> None:
        """The live subscription to `pattern` has ended at `heads`, or continues as `live`."""
        self._coverage.replace(pattern, heads, live)
        self._windows.clear()

    def _index_of_pending(self) -> SelectorIndex[PendingSubscription]:
        return SelectorIndex((each, each.selectors) for each in self._pending)

    def _compute_window(self, topic: Topic) -> Window:
        if len(self._windows) >= MAX_WINDOWS:
            self._windows.clear()
        text, stream = topic
        newest_after = since = BEYOND_ALL
        newest_until = 0
        pending = self._index.matching(text) if self._streams.serves(text) else ()
        for each in pending:
            self.comparisons += 1
            if stream not in each.since or not each.is_active:
                continue
            if each.request.last is None:
                since = min(since, each.since[stream])
            else:
                newest_after = min(newest_after, each.since[stream])
                newest_until = max(newest_until, each.newest_until[stream])
                # Later events belong to it like those of any other subscription.
                since = min(since, newest_until)
        covered = self._coverage.spans(text, stream)
        self.comparisons += 1 + len(covered)
        window = Window(newest_after, newest_until, since, covered)
        self._windows[text] = window
        return window


class PersonalSelection(Selection):
    """Selects a user's personal events after an offset of each stream.

    They come without a subscription, so neither a role nor an unsubscribe ends them.
    """

    def __init__(self, since: dict[str, int], streams: Streams) -> None:
        super().__init__((), CoverageList([]), streams)
        self._since = since

    @property
    def is_active(self) -> bool:
        """True: neither a role nor an unsubscribe ends personal events."""
        return True

    def offsets(self) -> tuple[dict[str, int], dict[str, int]]:
        """Return the offsets of the last events that the client has, as lowest and as highest."""
        return dict(self._since), dict(self._since)

    def wants(self, record: Record) -> bool:
        """Whether this edge serves the topic; its user is checked for every record."""
        topic = record.topic
        return not topic.is_internal and self._streams.serves(topic.subject)
