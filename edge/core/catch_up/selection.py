"""Which records of a resume are for the connection, and which it has already (section 7)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from edge.core.protocol.requests import Subscribe
from edge.core.streams.record import Record
from edge.core.streams.streams import Streams
from relay.wire.topics import TASK, Pattern

MAX_RULES = 4096
_NEVER = 2**64
"""Beyond every offset."""


@dataclass(slots=True, eq=False)
class Item:
    """A subscription that is being caught up."""

    request: Subscribe
    selectors: tuple[Pattern, ...]
    """Empty when the client's role no longer allows it."""
    since: dict[str, int] = field(default_factory=dict)
    """Stream to the offset after which it wants what it missed."""
    newest_until: dict[str, int] = field(default_factory=dict)
    """Stream to the offset up to which it wants the newest events, whatever came before."""
    recovered: bool = True
    is_withdrawn: bool = False
    """The client unsubscribed while it was being caught up."""

    @property
    def is_active(self) -> bool:
        """Whether it still selects anything."""
        return bool(self.selectors) and not self.is_withdrawn

    def selects(self, topic: str) -> bool:
        """Whether events on `topic` belong to it. Tasks come without subscription."""
        return self.is_active and any(selector.matches(topic) for selector in self.selectors)


class _Rule(NamedTuple):
    """What is wanted of one topic."""

    newest: tuple[int, int]
    """The span `(after, until]` of the `last` events: wanted though something has brought them."""
    since: int
    """After which it is wanted unless it is covered."""
    covered: tuple[tuple[int, int], ...]
    """The spans `(after, until]` that other subscriptions have brought."""


@dataclass(slots=True, eq=False)
class Cover:
    """A subscription that has brought the connection a part of the streams already."""

    pattern: Pattern
    selectors: tuple[Pattern, ...]
    after: Mapping[str, int]
    """Stream to the offset after which it brought everything."""
    until: Mapping[str, int] | None = None
    """Stream to the last offset that it brought; None while it goes on."""

    def span(self, topic: str, kind: str) -> tuple[int, int] | None:
        """The offsets `(after, until]` of events on `topic` that it brought."""
        if kind not in self.after or not any(each.matches(topic) for each in self.selectors):
            return None
        return self.after[kind], _NEVER if self.until is None else self.until.get(kind, 0)


class Selection:
    """Decides by topic, once for each, and then by offset."""

    def __init__(self, items: Sequence[Item], covers: Sequence[Cover], streams: Streams) -> None:
        """`items` and `covers` may change; `refresh` has to be called then."""
        self._items = items
        self._covers = covers
        self._streams = streams
        self._rules: dict[str, _Rule] = {}

    def wants(self, record: Record) -> bool:
        """Whether an item wants `record`, and if it asks for `since`, nothing has brought it."""
        topic = record.topic
        rule = self._rules.get(topic.text)
        if rule is None:
            rule = self._decide(topic.text, topic.kind)
        offset = record.offset
        newest_after, newest_until = rule.newest
        if newest_after < offset <= newest_until:
            return True
        if offset <= rule.since:
            return False
        return not any(after < offset <= until for after, until in rule.covered)

    def refresh(self) -> None:
        """An item or a cover has changed."""
        self._rules.clear()

    def _decide(self, topic: str, kind: str) -> _Rule:
        if len(self._rules) >= MAX_RULES:
            self._rules.clear()
        after = since = _NEVER
        until = 0
        if kind != TASK and self._streams.serves(topic):
            for item in self._items:
                if kind not in item.since or not item.selects(topic):
                    continue
                if item.request.last is None:
                    since = min(since, item.since[kind])
                else:
                    after = min(after, item.since[kind])
                    until = max(until, item.newest_until[kind])
                    since = min(since, until)
        spans = (cover.span(topic, kind) for cover in self._covers)
        rule = _Rule((after, until), since, tuple(span for span in spans if span is not None))
        self._rules[topic] = rule
        return rule
