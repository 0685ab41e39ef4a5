"""A call at the end of the process, whichever way a Python process ends by itself."""

import atexit
import multiprocessing
from collections.abc import Callable
from multiprocessing import util


class ExitHook:
    """Calls `callback` when the interpreter exits, from `register` until `cancel`."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self._callback = callback
        self._finalizer: util.Finalize | None = None

    def register(self) -> None:
        """Begin."""
        atexit.register(self._callback)
        # A child that `multiprocessing` has forked ends without `atexit`.
        if multiprocessing.parent_process() is not None:
            self._finalizer = util.Finalize(None, self._callback, exitpriority=0)

    def cancel(self) -> None:
        """Do not call `callback` any more."""
        atexit.unregister(self._callback)
        if self._finalizer is not None:
            self._finalizer.cancel()
