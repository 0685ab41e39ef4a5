"""What the core needs of the world around it (protocol section 7)."""

from typing import Protocol

from relay.wire.topics import Pattern


class Upstream(Protocol):
    """The relay, as the edge sees it."""

    def want(self, selector: Pattern) -> None:
        """Have events that `selector` matches sent."""

    def unwant(self, selector: Pattern) -> None:
        """Undo `want`."""

    def request_retained(self, selector: Pattern) -> None:
        """Have `Fanout.take_retained` called with what the relay remembers of `selector`."""

    def request_replay(self, stream: str, after: int, limit: int) -> None:
        """Have `Fanout.take_replay` called with the events of `stream` that follow `after`."""
