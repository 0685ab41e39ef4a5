"""`shielded`: a call that no exception of a signal handler can stop in the middle.

Python runs signal handlers in the main thread only. Interrupted there, code that holds a lock may
leave it taken, and every other thread would wait for it for ever. So the main thread has such code
run in a thread of its own, and waits. If the wait is interrupted, the call still comes to its end.
Under gevent it has no such protection.
"""

import _thread
import contextvars
import threading
from collections.abc import Callable
from typing import Generic, ParamSpec, TypeVar

from emitters.real_threads import is_green
from emitters.waiters import Receipt

P = ParamSpec("P")
R = TypeVar("R")


def shielded(function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """Return `function(*args, **kwargs)`, or raise what it raises; with the context variables of
    the caller."""
    if is_green():
        # A helper thread could wait for a green lock for ever, and green threads that it starts
        # would end with it.
        return function(*args, **kwargs)
    call = _Call(lambda: function(*args, **kwargs))
    if threading.get_ident() != threading.main_thread().ident:
        return call.function()
    try:
        # One call into C, unlike `threading.Thread.start`, which takes locks of its own.
        _thread.start_new_thread(call.run, ())
    except RuntimeError:
        # No further thread can be started; unprotected is better than not at all.
        return call.function()
    call.receipt.wait()
    return call.results[0]


class _Call(Generic[R]):
    """One call, and its outcome."""

    def __init__(self, function: Callable[[], R]) -> None:
        self.function = function
        self.receipt = Receipt()
        self.results: list[R] = []
        self._context = contextvars.copy_context()

    def run(self) -> None:
        """Call the function; in the helper thread."""
        try:
            self.results.append(self._context.run(self.function))
        except BaseException as error:  # noqa: BLE001 - the caller raises it
            self.receipt.give(error)
        else:
            self.receipt.give()
