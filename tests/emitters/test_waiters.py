"""A wait in the main thread lets signal handlers run, whichever thread the signal came to.

Such a signal stands for one that comes just before the wait begins: neither ends the wait.
"""

import asyncio
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from emitters.shielded import shielded
from emitters.waiters import Receipt, Waiters

TIMEOUT_S = 10.0


@pytest.fixture
def handled() -> Iterator[list[int]]:
    """The numbers of the signals that were handled."""
    numbers: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, _: numbers.append(number))
    yield numbers
    signal.signal(signal.SIGALRM, before)


@contextmanager
def signal_of_its_own(then: Callable[[], None]) -> Iterator[None]:
    """Have another thread send itself a signal while the body waits, and call `then` later."""

    def run() -> None:
        time.sleep(0.05)
        signal.pthread_kill(threading.get_ident(), signal.SIGALRM)
        then()

    thread = threading.Thread(target=run)
    thread.start()
    yield
    thread.join()


def wait_handled(handled: list[int]) -> bool:
    """Wait, in another thread, until a signal was handled; return whether one was."""
    give_up_at = time.monotonic() + TIMEOUT_S
    while not handled and time.monotonic() < give_up_at:
        time.sleep(0.01)
    return bool(handled)


def test_while_it_waits_for_a_shielded_call(handled: list[int]) -> None:
    def call() -> bool:
        signal.pthread_kill(threading.get_ident(), signal.SIGALRM)
        return wait_handled(handled)

    assert shielded(call) is True


def test_while_it_waits_for_a_receipt(handled: list[int]) -> None:
    receipt, answers = Receipt(), []

    def answer() -> None:
        answers.append(wait_handled(handled))
        receipt.give()

    with signal_of_its_own(answer):
        receipt.wait()
    assert answers == [True]


def test_while_it_waits_for_news(handled: list[int]) -> None:
    answers: list[bool] = []
    with signal_of_its_own(lambda: answers.append(wait_handled(handled))):
        Waiters().wait(lambda: bool(answers), 2 * TIMEOUT_S)
    assert answers == [True]


class TestCoroutines:
    def test_one_goes_on_as_soon_as_its_condition_is_met(self) -> None:
        waiters, news = Waiters(), list[int]()

        async def wait() -> list[bool]:
            first = asyncio.create_task(waiters.wait_async(lambda: len(news) > 0, 1000.0))
            second = asyncio.create_task(waiters.wait_async(lambda: len(news) > 1, 1000.0))
            await asyncio.sleep(0)
            told = []
            for task in (first, second):
                news.append(1)
                threading.Thread(target=waiters.notify).start()
                told.append(await asyncio.wait_for(task, TIMEOUT_S))
            return told

        assert asyncio.run(wait()) == [True, True]
        assert waiters._lookers == set()

    def test_one_that_waits_for_nothing_does_not_wait(self) -> None:
        assert asyncio.run(Waiters().wait_async(lambda: True, 0)) is True
        assert asyncio.run(Waiters().wait_async(lambda: False, 0)) is False

    def test_news_for_a_loop_that_is_closed_harm_nobody(self) -> None:
        waiters, is_met = Waiters(), list[int]()
        loop = asyncio.new_event_loop()
        waiting = loop.create_task(waiters.wait_async(lambda: bool(is_met), 1000.0))
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
        is_met.append(1)
        waiters.notify()
        waiting._log_destroy_pending = False  # type: ignore[attr-defined]
