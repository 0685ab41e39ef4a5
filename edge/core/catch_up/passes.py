"""The passes that catch a connection up: over its subscriptions, or over its tasks (section 7)."""

from collections.abc import Callable, Iterable

from edge.core.catch_up.last_events import LastEvents
from edge.core.catch_up.resume import Fetched, Outcome, Resume, Span
from edge.core.catch_up.selection import Cover, Item, Selection
from edge.core.hub.audience import Connection
from edge.core.hub.connections import ConnectionManager
from edge.core.streams.streams import Streams
from relay.wire.topics import TASK, Pattern


class Pass:
    """Sends what was missed, in the order of each stream, and then has the connection go live."""

    def __init__(self, streams: Streams, on_finish: Callable[[], None]) -> None:
        self._streams = streams
        self._on_finish = on_finish
        self._epoch = streams.epoch
        self._resume: Resume | None = None

    @property
    def is_recoverable(self) -> bool:
        """Whether offsets still mean what they meant when the pass was made."""
        return self._streams.epoch == self._epoch

    @property
    def is_complete(self) -> bool:
        """Whether there is nothing to do but to finish."""
        return not self.is_recoverable or (self._resume is not None and self._resume.is_complete)

    def step(self, fetched: Fetched | None = None) -> Outcome:
        """See `CatchingUp`."""
        if self.is_complete:
            return Outcome(is_complete=True)
        assert self._resume is not None
        return self._resume.step(fetched)

    def give_up_waiting(self) -> None:
        """See `CatchingUp`."""
        if self._resume is not None:
            self._resume.give_up_waiting()

    def finish(self) -> None:
        """See `CatchingUp`."""
        self._on_finish()


class TaskPass(Pass):
    """The user's own task updates after an offset."""

    def __init__(
        self,
        connection: Connection,
        manager: ConnectionManager,
        streams: Streams,
        since: int,
        on_finish: Callable[[], None],
    ) -> None:
        super().__init__(streams, on_finish)
        self._resume = Resume(
            connection,
            manager,
            streams,
            {TASK: Span(since, since)},
            lambda record: streams.serves(record.topic.text),
        )

    @property
    def recovered(self) -> bool:
        """Whether the client has been sent what there is, with gaps named."""
        return self.is_recoverable and self._resume is not None and not self._resume.unreached


class SubscriptionPass(Pass):
    """Everything that several subscriptions missed, each event once."""

    def __init__(
        self,
        connection: Connection,
        manager: ConnectionManager,
        streams: Streams,
        on_finish: Callable[[], None],
    ) -> None:
        super().__init__(streams, on_finish)
        self._connection = connection
        self._manager = manager
        self.items: list[Item] = []
        self.answers: list[Callable[[], None]] = []
        """What is answered when the pass has ended, in the order of the requests."""
        self._covers: list[Cover] = []
        self._selection: Selection | None = None
        self._searches: list[tuple[Item, str, LastEvents]] = []

    @property
    def is_complete(self) -> bool:
        """Whether there is nothing to do but to finish."""
        if not any(item.is_active for item in self.items):
            return True
        return super().is_complete

    def begin(self, covers: Iterable[Cover]) -> None:
        """All items are there; `covers` are the subscriptions that are live already."""
        self._covers = list(covers)
        self._selection = Selection(self.items, self._covers, self._streams)
        self._searches = [
            (item, kind, self._search(item, kind, count))
            for item in self.items
            if (count := item.request.last) is not None
            for kind in self._streams.offsets_concerning(item.selectors)
            if kind != TASK
        ]
        if not self._searches:
            self._begin_resume()

    def step(self, fetched: Fetched | None = None) -> Outcome:
        """See `CatchingUp`."""
        if self._searches and self.is_recoverable:
            item, kind, search = self._searches[0]
            outcome = search.step(fetched)
            if not outcome.is_complete:
                return outcome
            item.since[kind] = search.since
            item.newest_until[kind] = search.until
            del self._searches[0]
            if not self._searches:
                self._begin_resume()
            return Outcome()
        return super().step(fetched)

    def withdraw(self, pattern: Pattern) -> None:
        """The client no longer wants `pattern`."""
        for item in self.items:
            item.is_withdrawn |= item.request.pattern == pattern
        self._refresh()

    def restrict(self, selectors_of: Callable[[Pattern], tuple[Pattern, ...]]) -> None:
        """The client's role has changed. What it had no permission for meanwhile is not had."""
        for item in self.items:
            allowed = selectors_of(item.request.pattern)
            if item.selectors and allowed != item.selectors:
                item.selectors = allowed
                item.recovered = False
        self._refresh()

    def replace_cover(self, pattern: Pattern, cover: Cover | None) -> None:
        """The live subscription to `pattern` goes on as `cover`, or has ended."""
        for each in self._covers:
            if each.pattern == pattern and each.until is None:
                each.until = self._streams.offsets
        if cover is not None:
            self._covers.append(cover)
        self._refresh()

    def recovered(self, item: Item) -> bool:
        """Whether `item` has been sent all that it asked for."""
        if not item.recovered or not self.is_recoverable or self._resume is None:
            return False
        return all(
            self._resume.gaps.get(kind, 0) <= offset <= self._resume.unreached.get(kind, offset)
            for kind, offset in item.since.items()
        )

    def _search(self, item: Item, kind: str, count: int) -> LastEvents:
        stream = self._streams.get(kind)
        assert stream is not None
        return LastEvents(
            self._connection,
            self._streams,
            stream,
            count,
            lambda record: (
                item.selects(record.topic.text) and self._streams.serves(record.topic.text)
            ),
        )

    def _begin_resume(self) -> None:
        assert self._selection is not None
        spans: dict[str, Span] = {}
        for item in self.items:
            for kind, offset in item.since.items():
                span = spans.get(kind, Span(offset, offset))
                spans[kind] = Span(min(span.since, offset), max(span.furthest, offset))
        self._selection.refresh()
        self._resume = Resume(
            self._connection, self._manager, self._streams, spans, self._selection.wants
        )

    def _refresh(self) -> None:
        if self._selection is not None:
            self._selection.refresh()
