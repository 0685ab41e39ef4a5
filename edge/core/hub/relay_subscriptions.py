"""`WorkerSubscriptions`: the subscriptions of a worker at the relay, for all its clients together.

It subscribes to each stream that the edge serves. Of live topics it subscribes to a bounded number
of prefixes that cover the selectors of all clients, and reports the watched topics in the demand
(protocol section 4). The worker filters the rest: it forwards what a client has selected.
"""

from collections.abc import Iterable, Iterator
from typing import Protocol

from edge.core.hub.served import is_served
from relay.shared.covering_prefixes import Routes
from relay.wire.topics import EVENT, INTERNAL_STREAMS, PRESENCE, TASK, Pattern

_PRESENCE = f"{PRESENCE}:"


class PrefixSocket(Protocol):
    """The subscribing socket."""

    def subscribe(self, prefix: bytes) -> None:
        """Receive messages whose topic starts with `prefix`."""

    def unsubscribe(self, prefix: bytes) -> None:
        """Undo one `subscribe` of the same prefix."""


class DemandReporter(Protocol):
    """Tells the relay which live topics are watched."""

    @property
    def is_complete(self) -> bool:
        """Whether the relay is told every watched topic."""

    def watch(self, topic: str) -> None:
        """Report that `topic` is watched."""

    def unwatch(self, topic: str) -> None:
        """Report that `topic` is not watched any more."""


class LastValueSource(Protocol):
    """Requests retained values of the relay."""

    def request_last_values(self, selector: Pattern, username: str) -> None:
        """Request the values that `selector` matches, in the turn of the user `username`."""

    def forget_last_values(self, selector: Pattern) -> None:
        """Nobody waits for the values of `selector` any more."""


class WorkerSubscriptions:
    """Follows the streams and the clients' selectors; a `SelectorObserver`."""

    def __init__(
        self,
        socket: PrefixSocket,
        demand: DemandReporter,
        last_values: LastValueSource,
        served_prefixes: tuple[str, ...],
    ) -> None:
        """`last_values` asks the relay for the last value of each live topic selected."""
        self._socket = socket
        self._demand = demand
        self._last_values = last_values
        self._served_prefixes = served_prefixes
        self._selectors: set[Pattern] = set()
        self._routes = Routes()
        self._streams: frozenset[bytes] = frozenset()
        self.follow_streams((EVENT, TASK, *INTERNAL_STREAMS))

    def follow_streams(self, journaled_kinds: Iterable[str]) -> bool:
        """Subscribe to the streams of `journaled_kinds`; return whether that changed nothing."""
        wanted = stream_prefixes(journaled_kinds, self._served_prefixes)
        if wanted == self._streams:
            return True
        for prefix in wanted - self._streams:
            self._socket.subscribe(prefix)
        for selector in self._selectors:
            self._remove(selector)
        before, self._streams = self._streams, wanted
        for selector in self._selectors:
            self._add(selector)
        self._apply()
        for prefix in before - wanted:
            self._socket.unsubscribe(prefix)
        return False

    def wanted(self, selector: Pattern, username: str) -> None:
        """Subscribe for the first client with `selector`, and ask for the last values."""
        self._selectors.add(selector)
        self._add(selector)
        self._apply()
        # Otherwise there is nothing to ask for: events of a stream are replayed, not retained.
        if any(self._live_parts(selector)):
            self._last_values.request_last_values(selector, username)

    def unwanted(self, selector: Pattern) -> None:
        """Unsubscribe after the last client with `selector` has left."""
        self._selectors.discard(selector)
        self._remove(selector)
        self._apply()
        if any(self._live_parts(selector)):
            self._last_values.forget_last_values(selector)

    @property
    def live_selectors(self) -> tuple[Pattern, ...]:
        """Few selectors that together match every live topic of the clients."""
        return tuple(
            Pattern(prefix.decode(), exact=is_exact) for prefix, is_exact in self._routes.covers()
        )

    def refresh(self) -> None:
        """Make the hints that the demand requires now. Called several times a second."""
        self._apply()

    def _add(self, selector: Pattern) -> None:
        for each in self._live_parts(selector):
            self._routes.add(each.prefix.encode(), exact=each.exact)
            if each.exact:
                self._demand.watch(each.prefix)

    def _remove(self, selector: Pattern) -> None:
        for each in self._live_parts(selector):
            self._routes.remove(each.prefix.encode(), exact=each.exact)
            if each.exact:
                self._demand.unwatch(each.prefix)

    def _apply(self) -> None:
        self._routes.is_filtered = self._demand.is_complete
        for is_made, prefix in self._routes.take_changes():
            if is_made:
                self._socket.subscribe(prefix)
            else:
                self._socket.unsubscribe(prefix)

    def _live_parts(self, selector: Pattern) -> Iterator[Pattern]:
        # Presence is this worker's own knowledge: no topic of it comes from the relay.
        if not (self._is_within_stream(selector) or selector.prefix.startswith(_PRESENCE)):
            yield from served_parts(selector, self._served_prefixes)

    def _is_within_stream(self, selector: Pattern) -> bool:
        kind, colon, _ = selector.prefix.partition(":")
        return bool(colon) and f"{kind}:".encode() in self._streams


def served_parts(selector: Pattern, served_prefixes: tuple[str, ...]) -> Iterator[Pattern]:
    """Yield the patterns that stand for `selector` among the topics this edge serves."""
    for served in served_prefixes:
        if selector.prefix.startswith(served):
            yield selector
        elif served.startswith(selector.prefix) and not selector.exact:
            yield Pattern(served, exact=False)


def stream_prefixes(
    journaled_kinds: Iterable[str], served_prefixes: tuple[str, ...]
) -> frozenset[bytes]:
    """Return the ZeroMQ subscriptions for the streams of which this edge serves at least a part.

    A stream is subscribed to as a whole, so that a missing offset always means a lost event.
    """
    return frozenset(
        f"{kind}:".encode() for kind in journaled_kinds if is_served(kind, served_prefixes)
    )
