"""`wait_for`: waits for a condition until a deadline; the failure names the condition."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

INTERVAL_S = 0.02


def wait_for(condition: Callable[[], T], what: str, timeout: float = 20.0) -> T:
    """Return the first true result of `condition`; after `timeout` seconds fail and name `what`."""
    deadline = time.monotonic() + timeout
    while True:
        if result := condition():
            return result
        if time.monotonic() >= deadline:
            raise AssertionError(f"{what}: not within {timeout} s")
        time.sleep(INTERVAL_S)
