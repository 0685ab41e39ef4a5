"""Threads and locks of the operating system, also where gevent has put green ones in their place.

The link thread waits inside libzmq. As a green thread it would stop all others and itself, so under
gevent it is a real one. Everything that waits for it is then a green thread, which must let the
other green threads run meanwhile: it looks again and again instead of waiting for a real lock.

gevent may patch a process at any time before the first emitter, so nothing of it is looked up while
modules are imported. Eventlet has no such ways, and is refused.
"""

import _thread
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

_FIRST_LOOK_S = 0.0005
_LONGEST_LOOK_S = 0.02


def is_green() -> bool:
    """Return whether gevent has put green threads in place of the threads of this process."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))


def refuse_other_green_threads() -> None:
    """Raise `RuntimeError` if eventlet has patched `threading`."""
    patcher = sys.modules.get("eventlet.patcher")
    if patcher is not None and patcher.is_monkey_patched("thread"):
        raise RuntimeError(
            "an emitter needs real threads: use gevent, or call eventlet.monkey_patch(thread=False)"
        )


def refuse_gevent(user: str) -> None:
    """Raise `RuntimeError` if gevent has patched `threading`: the thread of `user`, as a green one,
    would wait inside libzmq and stop all others."""
    if is_green():
        raise RuntimeError(
            f"{user} needs real threads: use it in a process that gevent has not patched, or call"
            " gevent.monkey.patch_all(thread=False)"
        )


def new_lock() -> _thread.LockType:
    """Return a lock that is free. Wait for it with `acquired`, for a green thread may."""
    lock: _thread.LockType = _original("allocate_lock")()
    return lock


def acquired(lock: _thread.LockType, timeout_s: float) -> bool:
    """Take `lock` within `timeout_s` seconds; return whether it was taken."""
    if not is_green():
        return lock.acquire(timeout=timeout_s)
    give_up_at = time.monotonic() + timeout_s
    look_s = _FIRST_LOOK_S
    while not lock.acquire(blocking=False):
        left_s = give_up_at - time.monotonic()
        if left_s <= 0:
            return False
        sys.modules["gevent"].sleep(min(left_s, look_s))
        look_s = min(2 * look_s, _LONGEST_LOOK_S)
    return True


class RealThread:
    """A daemon thread of the operating system that calls `run`."""

    def __init__(self, name: str, run: Callable[[], None]) -> None:
        self._name = name
        self._run = run
        self._thread: threading.Thread | None = None
        """None before `start`, and under gevent, whose threads this one is none of."""
        self._ident = 0

    @property
    def is_current(self) -> bool:
        """Whether the caller is this thread."""
        return bool(self._ident == _original("get_ident")())

    def start(self) -> None:
        """Begin. Raises `RuntimeError` if no thread can be started."""
        if is_green():
            _original("start_new_thread")(self._begin, ())
            return
        # Daemon: a program that forgets `close` still ends.
        self._thread = threading.Thread(target=self._begin, name=self._name, daemon=True)
        self._thread.start()

    def join(self, timeout_s: float) -> None:
        """Wait until a thread that has done its work is gone."""
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _begin(self) -> None:
        self._ident = _original("get_ident")()
        self._run()


def _original(name: str) -> Any:
    """Return `_thread.<name>` as it was before gevent."""
    if is_green():
        return sys.modules["gevent.monkey"].get_original("_thread", name)
    return getattr(_thread, name)
