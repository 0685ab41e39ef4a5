"""`CallWorkers`: the threads in which `Answers` runs its functions."""

import threading
import time
from collections.abc import Callable

from emitters.core.call_queue import CallQueue
from relay.wire.calls import CallNotice

ENDING = "this process ends"
"""The answer to calls that are not begun any more."""


class CallWorkers:
    """Runs up to `max_workers` calls at a time.

    The threads are daemon threads, and end when nothing waits: only `close` waits for them. (Those
    of `concurrent.futures` would keep the process until all waiting calls have been run.)
    """

    def __init__(self, run: Callable[[CallNotice], None], max_workers: int) -> None:
        """`run` is called in a thread for each call, and raises nothing."""
        self._run = run
        self._max_workers = max_workers
        self._changed = threading.Condition()
        """Guards the fields below; notified when a thread ends."""
        self._queue = CallQueue()
        self._workers = 0
        self._is_closed = False

    def take(self, notice: CallNotice) -> str | None:
        """Have a call run; return the reason if it cannot be."""
        with self._changed:
            if self._is_closed:
                return ENDING
            # First: a call that waits is run, and not answered with an error as well.
            if self._workers < self._max_workers and not self._start() and not self._workers:
                return "no thread can be started here"
            if not self._queue.put(notice, time.monotonic()):
                return "too many requests wait here"
            return None

    def close(self, timeout: float) -> list[CallNotice]:
        """Wait up to `timeout` seconds for all calls; return those that were not begun."""
        with self._changed:
            self._changed.wait_for(lambda: not self._workers, timeout)
            self._is_closed = True
            return self._queue.take_all()

    def _start(self) -> bool:
        """Start a thread; return whether that was possible."""
        name = f"answers-{self._workers + 1}"
        try:
            threading.Thread(target=self._work, name=name, daemon=True).start()
        except RuntimeError:
            return False
        self._workers += 1
        return True

    def _work(self) -> None:
        while True:
            with self._changed:
                notice = self._queue.take(time.monotonic())
                if notice is None:
                    self._workers -= 1
                    self._changed.notify_all()
                    return
            self._run(notice)
