"""`Waiters`: threads and coroutines wait for news of the link thread. No lock is ever held.

An exception of a signal handler can interrupt Python code anywhere, also between the moment at
which `with lock:` has taken the lock and its body, in `threading.Condition` and `threading.Event`
as well. A lock that it leaves taken would stop the link thread. So each wait makes a lock of its
own that only the link thread releases, and an interrupted wait leaves nothing behind that matters.

A signal that comes just before the main thread begins to wait, or to another thread, ends no wait:
Python calls the handler when the main thread runs again. So waits are made in slices.
"""

import _thread
import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

from emitters.real_threads import acquired, new_lock
from relay.shared.interruptible import SLICE_S


class Waiters:
    """Any thread waits, one thread notifies."""

    def __init__(self) -> None:
        self._locks: set[_thread.LockType] = set()
        self._lookers: set[Callable[[], None]] = set()
        """Of waiting coroutines: each looks, and wakes its event loop up."""

    def wait(self, is_met: Callable[[], bool], timeout_s: float) -> bool:
        """Wait up to `timeout_s` seconds until `is_met`; return whether it is met.

        It is asked after each `notify`, and in between.
        """
        give_up_at = time.monotonic() + timeout_s
        while True:
            lock = new_lock()
            lock.acquire()
            try:
                # Before the look: what happens after it must end the wait.
                self._locks.add(lock)
                left_s = give_up_at - time.monotonic()
                if is_met():
                    return True
                if left_s <= 0:
                    return False
                acquired(lock, min(left_s, SLICE_S))
            finally:
                self._locks.discard(lock)

    async def wait_async(self, is_met: Callable[[], bool], timeout_s: float) -> bool:
        """Do what `wait` does in a coroutine: no thread waits meanwhile.

        `is_met` is also asked by the notifying thread, and so must only look at what is published.
        """
        loop = asyncio.get_running_loop()
        news = asyncio.Event()

        def look() -> None:
            # The loop may have been closed meanwhile.
            if is_met():
                with suppress(RuntimeError):
                    loop.call_soon_threadsafe(news.set)

        # Before the look, as above.
        self._lookers.add(look)
        try:
            async with asyncio.timeout(timeout_s):
                while not is_met():
                    await news.wait()
                    news.clear()
        except TimeoutError:
            return is_met()
        finally:
            self._lookers.discard(look)
        return True

    def notify(self) -> None:
        """Have every waiting thread and coroutine look again."""
        for look in list(self._lookers):
            look()
        for lock in list(self._locks):
            self._locks.discard(lock)
            # Another thread may be notifying too.
            with suppress(RuntimeError):
                lock.release()


class Receipt:
    """The answer of the link thread to one waiting thread, given once."""

    __slots__ = ("_lock", "error", "is_given")

    def __init__(self) -> None:
        self._lock = new_lock()
        self._lock.acquire()
        self.error: BaseException | None = None
        self.is_given = False

    def give(self, error: BaseException | None = None) -> None:
        """Answer; only the first answer counts."""
        if not self.is_given:
            self.error = error
            self.is_given = True
            self._lock.release()

    def wait(self) -> None:
        """Wait for the answer, and raise its error if it has one."""
        # By several threads or twice, it is enough that the first has got the lock.
        while not self.is_given:
            acquired(self._lock, SLICE_S)
        if self.error is not None:
            raise self.error
