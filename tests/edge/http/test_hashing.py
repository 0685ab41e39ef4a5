"""The queue of password checks: bounded, fair, and free of clients that have gone."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from edge.http.hashing import (
    MAX_PER_ADDRESS,
    MAX_RUNNING,
    MAX_WAITING,
    ClientGone,
    HashingQueue,
    HashingRefused,
)

ROOM = MAX_RUNNING + MAX_WAITING


class Checks:
    """Clients at one queue. A check runs until `finish` is set."""

    def __init__(self) -> None:
        self.queue = HashingQueue()
        self.finish = asyncio.Event()
        self.begun: list[str] = []

    def come(self, address: str, name: str = "") -> tuple["asyncio.Task[None]", asyncio.Event]:
        """A client comes; return its task, and the event that it leaves."""
        left = asyncio.Event()

        async def wait_left() -> None:
            await left.wait()

        async def check() -> None:
            async with self.queue.turn(address, wait_left):
                self.begun.append(name or address)
                await self.finish.wait()

        return asyncio.create_task(check()), left


def play(scenario: Callable[[Checks], Awaitable[None]]) -> None:
    async def run() -> None:
        async with asyncio.timeout(20):
            await scenario(Checks())

    asyncio.run(run())


async def settle() -> None:
    """Let everything run that can."""
    for _ in range(20):
        await asyncio.sleep(0)


def test_checks_beyond_the_room_are_refused_at_once() -> None:
    async def scenario(checks: Checks) -> None:
        tasks = [checks.come(f"address {number}")[0] for number in range(ROOM)]
        await settle()
        assert len(checks.begun) == MAX_RUNNING
        late, _ = checks.come("late")
        with pytest.raises(HashingRefused) as refused:
            await late
        assert not refused.value.is_own_fault
        checks.finish.set()
        await asyncio.gather(*tasks)
        assert checks.begun == [f"address {number}" for number in range(ROOM)]

    play(scenario)


def test_one_address_leaves_room_for_others() -> None:
    async def scenario(checks: Checks) -> None:
        tasks = [checks.come("flood")[0] for _ in range(200)]
        await settle()
        refused = [task for task in tasks if task.done()]
        assert len(refused) == 200 - MAX_PER_ADDRESS
        for task in refused:
            error = task.exception()
            assert isinstance(error, HashingRefused)
            assert error.is_own_fault
        other, _ = checks.come("other")
        checks.finish.set()
        await other

    play(scenario)


def test_a_client_that_leaves_is_never_checked_and_makes_room() -> None:
    async def scenario(checks: Checks) -> None:
        running = [checks.come(f"running {number}")[0] for number in range(MAX_RUNNING)]
        await settle()
        for _ in range(10):
            waiting = [checks.come(f"gone {number}") for number in range(MAX_WAITING)]
            await settle()
            for task, left in waiting:
                left.set()
                with pytest.raises(ClientGone):
                    await task
        stays, _ = checks.come("stays")
        await settle()
        checks.finish.set()
        await asyncio.gather(*running, stays)
        assert checks.begun == [*(f"running {number}" for number in range(MAX_RUNNING)), "stays"]

    play(scenario)


def test_a_client_that_has_left_before_it_comes_is_never_checked() -> None:
    async def scenario(checks: Checks) -> None:
        task, left = checks.come("gone")
        left.set()
        with pytest.raises(ClientGone):
            await task
        assert checks.begun == []

    play(scenario)


@pytest.mark.parametrize("when", ["waiting", "running"])
def test_a_cancelled_check_gives_its_turn_back(when: str) -> None:
    async def scenario(checks: Checks) -> None:
        tasks = [checks.come(f"address {number}")[0] for number in range(MAX_RUNNING * 2)]
        await settle()
        cancelled = tasks[:MAX_RUNNING] if when == "running" else tasks[MAX_RUNNING:]
        for task in cancelled:
            task.cancel()
        await asyncio.gather(*cancelled, return_exceptions=True)
        checks.finish.set()
        last = [checks.come(f"last {number}")[0] for number in range(ROOM)]
        await asyncio.gather(*last, *(set(tasks) - set(cancelled)))

    play(scenario)


def test_a_check_that_fails_gives_its_turn_back() -> None:
    async def scenario(checks: Checks) -> None:
        async def fail() -> None:
            async with checks.queue.turn("address", _stay):
                raise ValueError

        for _ in range(ROOM + 1):
            with pytest.raises(ValueError, match=r"^$"):
                await fail()

    play(scenario)


def _stay() -> Coroutine[Any, Any, None]:
    async def stay() -> None:
        await asyncio.Event().wait()

    return stay()
