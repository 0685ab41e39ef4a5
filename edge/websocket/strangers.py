"""`Strangers`: connections whose peers have not shown who they are, the oldest first.

Silent connections must keep nobody out. When there are too many, or a newcomer finds no room, the
oldest gives way.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple


class _Stranger(NamedTuple):
    since: float
    give_way: Callable[[], None]
    is_known: Callable[[], bool]


def _never() -> bool:
    return False


class Strangers:
    """Holds at most `max_count` connections; with more, the oldest gives way."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        max_count: int,
        on_give_way: Callable[[], None],
    ) -> None:
        """`on_give_way` is called for each that gives way."""
        self._loop = loop
        self._max_count = max_count
        self._on_give_way = on_give_way
        self._strangers: OrderedDict[object, _Stranger] = OrderedDict()

    def __len__(self) -> int:
        """The number of strangers; those that became known lately may be among them."""
        return len(self._strangers)

    def add(
        self,
        connection: object,
        give_way: Callable[[], None],
        is_known: Callable[[], bool] = _never,
    ) -> None:
        """Hold `connection` as the youngest. `give_way` ends it, unless `is_known` by then."""
        self._strangers.pop(connection, None)
        self._strangers[connection] = _Stranger(self._loop.time(), give_way, is_known)
        if len(self._strangers) > self._max_count:
            self.forget_known()
        if len(self._strangers) > self._max_count:
            self.make_room()

    def discard(self, connection: object) -> None:
        """`connection` is no stranger any more, or gone."""
        self._strangers.pop(connection, None)

    def forget_known(self) -> None:
        """Forget those that are known by now. Called several times a second."""
        for connection, stranger in tuple(self._strangers.items()):
            if stranger.is_known():
                del self._strangers[connection]

    def make_room(self, min_age_s: float = 0.0) -> bool:
        """Let the oldest give way, if it is as old as `min_age_s`; return whether one did."""
        latest = self._loop.time() - min_age_s
        while self._strangers:
            connection, stranger = next(iter(self._strangers.items()))
            if stranger.is_known():
                del self._strangers[connection]
            elif stranger.since > latest:
                return False
            else:
                del self._strangers[connection]
                self._on_give_way()
                stranger.give_way()
                return True
        return False
