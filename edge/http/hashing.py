"""`HashingQueue`: password checks wait here for their turn, and end with their client.

A check takes so much CPU that a few guessers would fill any queue. So the turns are not in the
order of arrival: those come first from whose address the fewest wrong passwords came and the fewest
other checks wait, of these the users whom the edge knows there. Where there is no room, a check
takes the place of the last one behind it.
"""

import asyncio
import contextlib
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from edge.core.identity.wrong_passwords import Standing

MAX_RUNNING = 2
"""Password checks at a time: each takes 64 MiB and tens of milliseconds of CPU."""
MAX_WAITING = 32
"""Further checks that wait: about a second of work."""
MAX_PER_ADDRESS = 16
"""Checks of one address, running and waiting. Others always find room beside them."""

Key = tuple[int, bool, int]
"""Wrong passwords and other checks of the address, whether the user is new there, and arrival."""


class HashingRefused(Exception):  # noqa: N818 - nothing is wrong with the request
    """There is no room for another check."""

    def __init__(self, *, is_own_fault: bool) -> None:
        super().__init__()
        self.is_own_fault = is_own_fault
        """Whether the address has too many checks, and not all addresses together."""


class ClientGone(Exception):  # noqa: N818 - nothing is wrong here
    """The client has left before its turn."""


@dataclass(frozen=True, slots=True, eq=False)
class _QueuedCheck:
    key: Key
    address: str
    turn: asyncio.Future[None]


class HashingQueue:
    """At most `MAX_RUNNING` checks run and `MAX_WAITING` wait."""

    def __init__(self) -> None:
        self._running = 0
        self._waiting: set[_QueuedCheck] = set()
        self._by_address: Counter[str] = Counter()
        self._arrivals = itertools.count()

    @contextlib.asynccontextmanager
    async def turn(
        self,
        address: str,
        standing: Standing,
        wait_gone: Callable[[], Coroutine[Any, Any, None]],
    ) -> AsyncIterator[None]:
        """Wait for a turn; the body has it. `wait_gone` returns when the client has left.

        Raises `HashingRefused` at once, or when a better one takes the place, or `ClientGone`
        before the turn.
        """
        others = self._by_address[address]
        key = (standing.wrong + others, standing.is_new, next(self._arrivals))
        if others >= MAX_PER_ADDRESS:
            self._displace(key, [each for each in self._waiting if each.address == address], True)
        elif len(self._waiting) >= MAX_WAITING:
            self._displace(key, list(self._waiting), False)
        self._by_address[address] += 1
        try:
            await self._wait(key, address, wait_gone)
            try:
                yield
            finally:
                self._end_turn()
        finally:
            self._by_address[address] -= 1
            if not self._by_address[address]:
                del self._by_address[address]

    def _displace(self, key: Key, among: list[_QueuedCheck], is_own_fault: bool) -> None:
        """Refuse the last one of `among` if it is behind `key`; else raise `HashingRefused`."""
        last = max(among, key=lambda each: each.key, default=None)
        if last is None or last.key[:2] <= key[:2]:
            raise HashingRefused(is_own_fault=is_own_fault)
        self._waiting.discard(last)
        last.turn.set_exception(HashingRefused(is_own_fault=is_own_fault))

    async def _wait(
        self, key: Key, address: str, wait_gone: Callable[[], Coroutine[Any, Any, None]]
    ) -> None:
        entry = _QueuedCheck(key, address, asyncio.get_running_loop().create_future())
        self._waiting.add(entry)
        self._begin_turns()
        gone = asyncio.ensure_future(wait_gone())
        has_turn = False
        try:
            await asyncio.wait((entry.turn, gone), return_when=asyncio.FIRST_COMPLETED)
            if gone.done():
                raise ClientGone
            entry.turn.result()
            has_turn = True
        finally:
            gone.cancel()
            if not has_turn:
                self._leave(entry)

    def _leave(self, entry: _QueuedCheck) -> None:
        """Forget a check that will not use its turn."""
        if entry in self._waiting:
            self._waiting.discard(entry)
        elif entry.turn.exception() is None:
            self._end_turn()

    def _begin_turns(self) -> None:
        while self._running < MAX_RUNNING and self._waiting:
            first = min(self._waiting, key=lambda each: each.key)
            self._waiting.discard(first)
            self._running += 1
            first.turn.set_result(None)

    def _end_turn(self) -> None:
        self._running -= 1
        self._begin_turns()
