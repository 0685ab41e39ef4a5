"""`HashingQueue`: password checks wait here for their turn, and end with their client."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

MAX_RUNNING = 2
"""Password checks at a time: each takes 64 MiB and tens of milliseconds of CPU."""
MAX_WAITING = 32
"""Further checks that wait: about a second of work."""
MAX_PER_ADDRESS = 16
"""Checks of one address, running and waiting. Others always find room beside them."""


class HashingRefused(Exception):  # noqa: N818 - nothing is wrong with the request
    """There is no room for another check."""

    def __init__(self, *, is_own_fault: bool) -> None:
        super().__init__()
        self.is_own_fault = is_own_fault
        """Whether the address has too many checks, and not all addresses together."""


class ClientGone(Exception):  # noqa: N818 - nothing is wrong here
    """The client has left before its turn."""


class HashingQueue:
    """At most `MAX_RUNNING` checks run and `MAX_WAITING` wait, in their order."""

    def __init__(self) -> None:
        self._running = asyncio.Semaphore(MAX_RUNNING)
        self._by_address: Counter[str] = Counter()

    @contextlib.asynccontextmanager
    async def turn(
        self, address: str, wait_gone: Callable[[], Coroutine[Any, Any, None]]
    ) -> AsyncIterator[None]:
        """Wait for a turn; the body has it. `wait_gone` returns when the client has left.

        Raises `HashingRefused` at once, or `ClientGone` before the turn.
        """
        if self._by_address.total() >= MAX_RUNNING + MAX_WAITING:
            raise HashingRefused(is_own_fault=False)
        if self._by_address[address] >= MAX_PER_ADDRESS:
            raise HashingRefused(is_own_fault=True)
        self._by_address[address] += 1
        try:
            await self._wait(wait_gone)
            try:
                yield
            finally:
                self._running.release()
        finally:
            self._by_address[address] -= 1
            if not self._by_address[address]:
                del self._by_address[address]

    async def _wait(self, wait_gone: Callable[[], Coroutine[Any, Any, None]]) -> None:
        turn = asyncio.ensure_future(self._running.acquire())
        gone = asyncio.ensure_future(wait_gone())
        has_turn = False
        try:
            await asyncio.wait((turn, gone), return_when=asyncio.FIRST_COMPLETED)
            if gone.done():
                raise ClientGone
            has_turn = True
        finally:
            gone.cancel()
            if not has_turn and not turn.cancel():
                self._running.release()
