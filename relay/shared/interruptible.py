"""ZeroMQ in the main thread, where Python calls signal handlers."""

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

R = TypeVar("R")

SLICE_S = 0.25
"""A signal handler waits for so long at most."""


def poll_in_slices(poll: Callable[[int], R], timeout_s: float) -> R:
    """Return the first true result of `poll(milliseconds)`, or its last one after `timeout_s`.

    Python calls a signal handler when the call of libzmq has returned. libzmq returns for a signal,
    but not if it comes just before it begins to wait.
    """
    give_up_at = time.monotonic() + timeout_s
    while True:
        left_s = max(0.0, give_up_at - time.monotonic())
        result = poll(int(1000 * min(left_s, SLICE_S)) + 1)
        if result or left_s <= SLICE_S:
            return result


@contextlib.contextmanager
def signals_held() -> Iterator[None]:
    """Let signals wait for the end of the body, if no other thread of Python takes them."""
    if not hasattr(signal, "pthread_sigmask"):
        # Windows: a signal handler may still interrupt the body.
        yield
        return
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        # Raises what the handler of an earlier signal raises, so that none is left for the body.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
