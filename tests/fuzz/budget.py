"""`Budget`: how long a part of the fuzzing goes on."""

import time
from collections.abc import Iterator
from random import Random


class Budget:
    """Ends after `seconds` or `inputs`, whichever comes first."""

    def __init__(
        self, seconds: float = float("inf"), inputs: int = 2**62, only: int | None = None
    ) -> None:
        """`only` is the number of the one input to be repeated."""
        self.seconds = seconds
        self.inputs = inputs
        self.only = only

    def split(self, parts: int) -> "Budget":
        """Return an equal part of this budget."""
        return Budget(self.seconds / parts, max(1, self.inputs // parts))

    def numbers(self) -> Iterator[int]:
        """Yield the numbers of inputs until the budget is used up."""
        if self.only is not None:
            yield self.only
            return
        ends_at = time.monotonic() + self.seconds
        for number in range(self.inputs):
            if time.monotonic() >= ends_at:
                return
            yield number


def chance_of(seed: int, number: int) -> Random:
    """Return the source of chance for one input."""
    return Random((seed << 64) + number)
