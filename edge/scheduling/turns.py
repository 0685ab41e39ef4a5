"""`Turns`: a few places for work that lasts, which parties take in turns."""

import asyncio
import contextlib
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Hashable


class Turns:
    """Places that are given to the parties that wait, one party after the other.

    Thus nobody waits for all that another party waits for. Those of one party are served in the
    order of their arrival. There is no limit of its own: each asks once and withdraws if it goes,
    so that no more wait than there are askers.
    """

    def __init__(self, places: int, most_of_party: int | None = None) -> None:
        """One party has at most `most_of_party` places at a time, or all of them."""
        self._free = places
        self._most_of_party = places if most_of_party is None else most_of_party
        self._holders: dict[asyncio.Future[None], Hashable] = {}
        """By place that was given: the party whose turn it was."""
        self._held: Counter[Hashable] = Counter()
        """How many places each party has."""
        self._lines: OrderedDict[Hashable, dict[asyncio.Future[None], None]] = OrderedDict()
        """By party, in the order of their turns; in each line, the oldest first."""

    def ask(self, place: asyncio.Future[None], party: Hashable) -> None:
        """Set the result of `place` as soon as it is the turn of `party`.

        The same place may be asked for in the lines of several parties; the first turn counts.
        """
        if place.done():
            return
        if self._free and self._may_have(party):
            self._give(place, party)
        else:
            self._lines.setdefault(party, {})[place] = None

    def withdraw(self, place: asyncio.Future[None], party: Hashable) -> None:
        """Let `place` wait no longer in the line of `party`, if it does."""
        line = self._lines.get(party)
        if line is not None:
            line.pop(place, None)
            if not line:
                del self._lines[party]

    def give_back(self, place: asyncio.Future[None]) -> None:
        """A place that was taken is free for the next party."""
        party = self._holders.pop(place)
        self._held[party] -= 1
        if not self._held[party]:
            del self._held[party]
        self._free += 1
        # Few parties are passed over: only those that have all places that they may have.
        while (waiting := self._next_party()) is not None:
            following = next(iter(self._lines[waiting]))
            self.withdraw(following, waiting)
            if not following.done():
                if waiting in self._lines:
                    self._lines.move_to_end(waiting)
                self._give(following, waiting)
                return

    def _next_party(self) -> Hashable | None:
        return next(filter(self._may_have, self._lines), None)

    def _may_have(self, party: Hashable) -> bool:
        return self._held[party] < self._most_of_party

    def _give(self, place: asyncio.Future[None], party: Hashable) -> None:
        self._free -= 1
        self._held[party] += 1
        self._holders[place] = party
        place.set_result(None)

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
                self.give_back(place)
