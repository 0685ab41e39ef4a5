"""The signal wakes a loop, whoever sets it and how often."""

import select
import signal
import threading
from collections.abc import Iterator
from contextlib import closing
from types import FrameType

import pytest

from relay.stop_signal import StopSignal
from tests.support.waiting import is_readable


@pytest.fixture
def stop() -> Iterator[StopSignal]:
    with closing(StopSignal()) as stop:
        yield stop


def test_a_loop_that_waits_wakes(stop: StopSignal) -> None:
    assert not stop.is_set
    assert not is_readable(stop.fileno())
    thread = threading.Thread(target=stop.set)
    thread.start()
    assert select.select([stop], [], [], 10)[0] == [stop]
    thread.join(10)
    assert stop.is_set


def test_it_may_be_set_by_a_signal_handler_and_again(stop: StopSignal) -> None:
    def handler(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        for _ in range(3):
            signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert stop.is_set
    assert is_readable(stop.fileno())


def test_it_may_be_set_again_after_its_end() -> None:
    stop = StopSignal()
    stop.set()
    stop.close()
    stop.set()
    assert stop.is_set
