"""`WorkerSubscriptions`: the subscriptions of a worker at the relay, for all its clients together.

It keeps the ZeroMQ subscriptions of the worker: one for each stream that the edge serves, and one
for each selector of at least one client. ZeroMQ matches prefixes only, so each selector comes with
a hint that tells emitters whether it means one topic or a prefix (protocol section 4).
"""

from collections.abc import Iterable
from typing import Protocol

from relay.wire.control import EXACT_PREFIX, WITHIN_PREFIX
from relay.wire.topics import EVENT, TASK, Pattern


class PrefixSocket(Protocol):
    """The subscribing socket."""

    def subscribe(self, prefix: bytes) -> None:
        """Receive messages whose topic starts with `prefix`."""

    def unsubscribe(self, prefix: bytes) -> None:
        """Undo one `subscribe` of the same prefix."""


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
        last_values: LastValueSource,
        served_prefixes: tuple[str, ...],
    ) -> None:
        """`last_values` asks the relay for the last value of each live topic selected."""
        self._socket = socket
        self._last_values = last_values
        self._served_prefixes = served_prefixes
        self._streams: frozenset[bytes] = frozenset()
        self.follow_streams((EVENT, TASK))

    def follow_streams(self, journaled_kinds: Iterable[str]) -> bool:
        """Subscribe to the streams of `journaled_kinds`; return whether that changed nothing."""
        wanted = stream_prefixes(journaled_kinds, self._served_prefixes)
        for prefix in wanted - self._streams:
            self._socket.subscribe(prefix)
        for prefix in self._streams - wanted:
            self._socket.unsubscribe(prefix)
        is_unchanged = wanted == self._streams
        self._streams = wanted
        return is_unchanged

    def wanted(self, selector: Pattern, username: str) -> None:
        """Subscribe for the first client with `selector`, and ask for the last values."""
        for prefix in selector_prefixes(selector, self._served_prefixes):
            self._socket.subscribe(prefix)
        kind, colon, _ = selector.prefix.partition(":")
        # Within one stream there is nothing to ask for: events are replayed, not retained.
        if not (colon and f"{kind}:".encode() in self._streams):
            self._last_values.request_last_values(selector, username)

    def unwanted(self, selector: Pattern) -> None:
        """Unsubscribe after the last client with `selector` has left."""
        for prefix in selector_prefixes(selector, self._served_prefixes):
            self._socket.unsubscribe(prefix)
        self._last_values.forget_last_values(selector)


def selector_prefixes(selector: Pattern, served_prefixes: tuple[str, ...]) -> tuple[bytes, ...]:
    """Return the ZeroMQ subscriptions for `selector`, limited to the topics this edge serves.

    Each comes with its hint, `!exact:` or `!within:`.
    """
    prefixes: list[bytes] = []
    for served in served_prefixes:
        if selector.prefix.startswith(served):
            prefix, exact = selector.prefix, selector.exact
        elif served.startswith(selector.prefix) and not selector.exact:
            prefix, exact = served, False
        else:
            continue
        prefixes += [(EXACT_PREFIX if exact else WITHIN_PREFIX) + prefix.encode(), prefix.encode()]
    return tuple(prefixes)


def stream_prefixes(
    journaled_kinds: Iterable[str], served_prefixes: tuple[str, ...]
) -> frozenset[bytes]:
    """Return the ZeroMQ subscriptions for the streams of which this edge serves at least a part.

    A stream is subscribed to as a whole, so that a missing offset always means a lost event.
    """
    return frozenset(
        f"{kind}:".encode()
        for kind in journaled_kinds
        if any(Pattern(served, exact=False).concerns(kind) for served in served_prefixes)
    )
