"""The subscriptions of one client, by pattern, whatever its connection."""

from collections.abc import Iterator
from enum import Enum, auto
from typing import Protocol

from edge.client.core.errors import ClientError
from edge.client.core.messages import Event
from edge.client.core.position import can_match


class Sink(Protocol):
    """One receiver of events."""

    def confirmed(self) -> None:
        """The edge has granted the subscription."""

    def event(self, event: Event) -> None:
        """An event has arrived."""

    def problem(self, error: ClientError) -> None:
        """The subscription was refused or has ended, or events are lost."""


class RequestState(Enum):
    """The state of a subscription on the present connection."""

    IDLE = auto()
    REQUESTED = auto()
    REFUSED = auto()


def topic_matches(pattern: str, topic: str) -> bool:
    """Whether a pattern (a topic, or a prefix that ends in `*`) matches a topic.

    To a prefix, a topic that is a kind alone has a colon (protocol section 2).
    """
    if not pattern.endswith("*"):
        return topic == pattern
    return (topic if ":" in topic else f"{topic}:").startswith(pattern[:-1])


class ClientSubscription:
    """One pattern, its sinks, and the state of its request at the edge."""

    def __init__(self, pattern: str, last: int | None) -> None:
        self.pattern = pattern
        self.last = last
        self.sinks: list[Sink] = []
        self.is_confirmed = False
        """Whether the edge has ever confirmed it: then it resumes on the next connection."""
        self.has_streams = False
        """Whether the edge named a stream that it matches; a live topic loses nothing."""
        self.state = RequestState.IDLE
        self._refusal: ClientError | None = None
        self._backlog: list[Event] | None = None
        """Events requested with `last`, held until the reply."""

    def add(self, sink: Sink) -> None:
        """Add a sink, which learns at once if the edge has refused the subscription."""
        self.sinks.append(sink)
        if self.state is RequestState.REFUSED and self._refusal is not None:
            sink.problem(self._refusal)

    def requested(self, last: int | None) -> None:
        """The request is on its way."""
        self.state = RequestState.REQUESTED
        self._backlog = None if last is None else []

    def connection_lost(self) -> None:
        """The connection has ended; a backlog that was not complete comes again."""
        self.state = RequestState.IDLE
        self._backlog = None

    def refuse(self, error: ClientError) -> None:
        """The edge has refused it, or has ended it later."""
        self.state = RequestState.REFUSED
        self._refusal = error
        self.is_confirmed = False
        self._backlog = None
        for sink in tuple(self.sinks):
            sink.problem(error)

    def deliver(self, event: Event, *, is_repeat: bool) -> None:
        """Pass an event to the sinks, or hold it.

        Before the subscription is confirmed, events of streams reach it only through other
        subscriptions, with holes between them: they are dropped.
        """
        if self._backlog is not None and event.offset is not None:
            self._backlog.append(event)
        elif not is_repeat and (self.is_confirmed or event.offset is None):
            self._pass_on(event)

    def grant(self, *, has_streams: bool) -> None:
        """The edge has confirmed it: the sinks get the backlog, in stream order and each once.

        They get it only now, so that a connection that is lost in the middle of a backlog brings no
        event twice. An event may have come through another subscription before.
        """
        self.is_confirmed = True
        self.has_streams = has_streams
        self.last = None
        backlog, self._backlog = self._backlog or [], None
        for sink in tuple(self.sinks):
            sink.confirmed()
        unique = {(event.stream, event.offset or 0): event for event in backlog}
        for _, event in sorted(unique.items(), key=lambda item: item[0]):
            self._pass_on(event)

    def _pass_on(self, event: Event) -> None:
        for sink in tuple(self.sinks):
            sink.event(event)


class SubscriptionTable:
    """All subscriptions. The edge sends an event once even if several match it, so the client
    matches."""

    def __init__(self) -> None:
        self._by_pattern: dict[str, ClientSubscription] = {}

    def __iter__(self) -> Iterator[ClientSubscription]:
        return iter(tuple(self._by_pattern.values()))

    def add(self, pattern: str, sink: Sink, last: int | None) -> ClientSubscription:
        """Add a sink. Sinks of one pattern share a subscription, which ends with the last one."""
        found = self._by_pattern.setdefault(pattern, ClientSubscription(pattern, last))
        found.add(sink)
        return found

    def remove(self, subscription: ClientSubscription, sink: Sink) -> bool:
        """Remove a sink; return whether it was the last of its subscription."""
        if sink not in subscription.sinks:
            return False
        subscription.sinks.remove(sink)
        if subscription.sinks:
            return False
        del self._by_pattern[subscription.pattern]
        return True

    def ended(self, pattern: str, error: ClientError) -> bool:
        """The edge has ended a subscription unasked; return whether it is known."""
        found = self._by_pattern.get(pattern)
        if found is not None:
            found.refuse(error)
        return found is not None

    def retry_refused(self) -> None:
        """Request refused subscriptions again: the user's role may have changed."""
        for subscription in self:
            if subscription.state is RequestState.REFUSED:
                subscription.state = RequestState.IDLE

    def dispatch(self, event: Event, *, is_repeat: bool) -> None:
        """Pass an event to each subscription that matches it."""
        for subscription in self:
            if topic_matches(subscription.pattern, event.topic):
                subscription.deliver(event, is_repeat=is_repeat)

    def connection_lost(self) -> None:
        """The connection has ended."""
        for subscription in self:
            subscription.connection_lost()

    def sinks_of(self, stream: str | None) -> list[Sink]:
        """Return the sinks that events of the stream may concern; of None those of any stream."""
        return [
            sink
            for each in self
            if (each.has_streams if stream is None else can_match(each.pattern, stream))
            for sink in each.sinks
        ]
