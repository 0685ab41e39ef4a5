"""Exceptions from outside, as a signal handler raises them: at each line, or at random moments."""

import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).parents[2]
OURS = tuple(f"{ROOT / package}/" for package in ("emitters", "relay"))
"""Only in our own code: lines of the standard library are interrupted by real signals alone."""


class Interrupted(BaseException):
    """Raised in the midst of a call."""


class LineTracer:
    """Raises `Interrupted` at the `number`th line that runs in our code."""

    def __init__(self, number: int) -> None:
        self._left = number
        self.place = ""
        """File and line at which it was raised."""

    def __enter__(self) -> None:
        sys.settrace(self._enter)

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def _enter(self, frame: FrameType, event: str, argument: object) -> Any:
        return self._step if frame.f_code.co_filename.startswith(OURS) else None

    def _step(self, frame: FrameType, event: str, argument: object) -> Any:
        if event == "line":
            self._left -= 1
            if self._left == 0:
                self.place = f"{frame.f_code.co_filename}:{frame.f_lineno}"
                sys.settrace(None)
                raise Interrupted
        return self._step


def interrupt_each_line(call: Callable[[], object], check: Callable[[str], None]) -> int:
    """Call `call` again and again, interrupted at one line later each time, until it ends first.

    `check` gets the place after each interrupted call. Returns the number of interrupts.
    """
    number = 0
    while True:
        number += 1
        tracer = LineTracer(number)
        try:
            with tracer:
                call()
            return number - 1
        except Interrupted:
            pass
        # Not before here: the exception holds the frames that it came through.
        check(tracer.place)


def interrupt_at_random(call: Callable[[], object], count: int, longest_s: float) -> int:
    """Call `call` again and again while `count` signals come, each up to `longest_s` seconds after
    the one before was dealt with. Returns how often it returned."""
    returned = came = 0

    def interrupt(*_: object) -> None:
        nonlocal came
        came += 1
        raise Interrupted

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for number in range(count):
            try:
                # One at a time, or the next would come where this one is being dealt with.
                signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-6, longest_s))
                # Python ignores an exception that is raised in the callback of a weak reference.
                while came == number:
                    call()
                    returned += 1
            except Interrupted:
                pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    return returned
