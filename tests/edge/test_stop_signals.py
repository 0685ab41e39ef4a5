"""The end of a server is noticed, and its own handlers are called as before."""

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest

from edge.stop_signals import NUMBERS, StopSignals

TIMEOUT_S = 10.0


@pytest.fixture
def served() -> Iterator[list[int]]:
    """The signals that the server's own handlers were told of."""
    numbers: list[int] = []
    before = [signal.signal(each, lambda number, _: numbers.append(number)) for each in NUMBERS]
    yield numbers
    for number, handler in zip(NUMBERS, before, strict=True):
        signal.signal(number, handler)


def test_both_are_told(served: list[int]) -> None:
    async def scenario() -> None:
        told = asyncio.Event()
        signals = StopSignals(asyncio.get_running_loop(), told.set)
        signals.watch()
        signals.watch()
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(told.wait(), TIMEOUT_S)
        signals.close()

    handlers = [signal.getsignal(number) for number in NUMBERS]
    asyncio.run(scenario())
    assert served == [signal.SIGTERM]
    assert [signal.getsignal(number) for number in NUMBERS] == handlers


def test_handlers_of_the_loop_are_called_too() -> None:
    async def scenario() -> None:
        loop, told, stopped = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, stopped.set)
        signals = StopSignals(loop, told.set)
        signals.watch()
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(asyncio.gather(told.wait(), stopped.wait()), TIMEOUT_S)
        signals.close()
        loop.remove_signal_handler(signal.SIGTERM)

    asyncio.run(scenario())


def test_a_signal_that_nobody_handles_is_left_alone() -> None:
    async def scenario() -> None:
        signals = StopSignals(asyncio.get_running_loop(), lambda: None)
        signals.watch()
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        signals.close()

    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        asyncio.run(scenario())
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_handler_that_came_later_stays(served: list[int]) -> None:
    async def scenario() -> None:
        signals = StopSignals(asyncio.get_running_loop(), lambda: None)
        signals.watch()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signals.close()
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN

    asyncio.run(scenario())


def test_in_another_thread_nothing_is_touched(served: list[int]) -> None:
    async def scenario() -> None:
        signals = StopSignals(asyncio.get_running_loop(), lambda: None)
        before = signal.getsignal(signal.SIGTERM)
        await asyncio.to_thread(signals.watch)
        assert signal.getsignal(signal.SIGTERM) is before

    asyncio.run(scenario())
