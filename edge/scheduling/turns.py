"""`Turns`: a few places for work that lasts, which parties take in turns."""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Hashable


class Turns:
    """Places that are given to the parties that wait, one party after the other.

    Thus nobody waits for all that another party waits for. Those of one party are served in the
    order of their arrival. There is no limit of its own: each asks once and withdraws if it goes,
    so that no more wait than there are askers.
    """

    def __init__(self, places: int) -> None:
        self._free = places
        """Zero while anybody waits."""
        self._lines: OrderedDict[Hashable, dict[asyncio.Future[None], None]] = OrderedDict()
        """By party, in the order of their turns; in each line, the oldest first."""

    def ask(self, place: asyncio.Future[None], party: Hashable) -> None:
        """Set the result of `place` as soon as it is the turn of `party`.

        The same place may be asked for in the lines of several parties; the first turn counts.
        """
        if place.done():
            return
        if self._free:
            self._free -= 1
            place.set_result(None)
        else:
            self._lines.setdefault(party, {})[place] = None

    def withdraw(self, place: asyncio.Future[None], party: Hashable) -> None:
        """Let `place` wait no longer in the line of `party`, if it does."""
        line = self._lines.get(party)
        if line is not None:
            line.pop(place, None)
            if not line:
                del self._lines[party]

    def give_back(self) -> None:
        """A place that was taken is free for the next party."""
        while self._lines:
            party, line = next(iter(self._lines.items()))
            place = next(iter(line))
            self.withdraw(place, party)
            if not place.done():
                if party in self._lines:
                    self._lines.move_to_end(party)
                place.set_result(None)
                return
        self._free += 1

    @contextlib.asynccontextmanager
    async def turn(self, party: Hashable) -> AsyncIterator[None]:
        """Wait for a place, and hold it for the body."""
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ask(place, party)
        try:
            await place
            yield
        finally:
            self.withdraw(place, party)
            if place.done() and not place.cancelled():
                self.give_back()
