"""What the core needs of the world around it (protocol section 7)."""

from collections.abc import Callable
from typing import Protocol

from edge.core.catch_up.resume import Fetched, Outcome


class CatchingUp(Protocol):
    """A pass that somebody has to see through."""

    def step(self, fetched: Fetched | None = None) -> Outcome:
        """Send the next records; `fetched` is what the step before asked for."""

    def give_up_waiting(self) -> None:
        """Streams do not go on as far as the client says it was."""

    def finish(self) -> None:
        """Go live. In the same turn as the step that was complete."""


CatchUp = Callable[[CatchingUp], None]
"""Sees a pass through, at the speed of the client and of the relay: has it stepped until it is
complete, and then finished."""
