"""The queue of password checks: bounded, fair, and free of clients that have gone."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from edge.core.identity.wrong_passwords import Standing
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

    def come(
        self, address: str, name: str = "", *, wrong: int = 0, is_new: bool = True
    ) -> tuple["asyncio.Task[None]", asyncio.Event]:
        """A client comes; return its task, and the event that it leaves."""
        left = asyncio.Event()

        async def wait_left() -> None:
            await left.wait()

        async def check() -> None:
            async with self.queue.turn(address, Standing(wrong, is_new), wait_left):
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


def test_an_address_without_wrong_passwords_is_before_those_that_guess() -> None:
    """And an address with few checks before one with many; known users first."""

    async def scenario(checks: Checks) -> None:
        running = [checks.come(f"running {number}")[0] for number in range(MAX_RUNNING)]
        await settle()
        guessers = [checks.come(f"guesser {number}", wrong=1 + number)[0] for number in range(4)]
        office = [checks.come("office", f"office {number}")[0] for number in range(3)]
        fresh, _ = checks.come("fresh")
        known, _ = checks.come("known", is_new=False)
        await settle()
        checks.finish.set()
        await asyncio.gather(*running, *guessers, *office, fresh, known)
        assert checks.begun[MAX_RUNNING:] == [
            "known",
            "office 0",
            "fresh",
            "guesser 0",
            "office 1",
            "guesser 1",
            "office 2",
            "guesser 2",
            "guesser 3",
        ]

    play(scenario)


def test_in_a_full_queue_a_better_one_takes_the_place_of_the_last() -> None:
    async def scenario(checks: Checks) -> None:
        guessers = [checks.come(f"guesser {number}", wrong=number)[0] for number in range(ROOM)]
        await settle()
        for _ in range(3):
            with pytest.raises(HashingRefused):
                await checks.come("another guesser", wrong=ROOM)[0]
        honest, _ = checks.come("honest")
        await settle()
        [refused] = [task for task in guessers if task.done()]
        assert refused is guessers[-1], "the one with the most wrong passwords"
        assert isinstance(refused.exception(), HashingRefused)
        checks.finish.set()
        await asyncio.gather(honest, *guessers[:-1])
        assert checks.begun.index("honest") == MAX_RUNNING

    play(scenario)


def test_a_known_user_finds_room_at_an_address_full_of_guessers() -> None:
    """As behind a proxy that does not tell the addresses of clients."""

    async def scenario(checks: Checks) -> None:
        guessers = [checks.come("one", wrong=number)[0] for number in range(MAX_PER_ADDRESS)]
        await settle()
        with pytest.raises(HashingRefused) as refused:
            await checks.come("one", wrong=MAX_PER_ADDRESS)[0]
        assert refused.value.is_own_fault
        known, _ = checks.come("one", "known", is_new=False)
        checks.finish.set()
        await known
        results = await asyncio.gather(*guessers, return_exceptions=True)
        assert [type(each) for each in results if each is not None] == [HashingRefused]

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
            async with checks.queue.turn("address", Standing(0, True), _stay):
                raise ValueError

        for _ in range(ROOM + 1):
            with pytest.raises(ValueError, match=r"^$"):
                await fail()

    play(scenario)


def _stay() -> Coroutine[Any, Any, None]:
    async def stay() -> None:
        await asyncio.Event().wait()

    return stay()
