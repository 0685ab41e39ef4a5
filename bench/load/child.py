"""An object in a process of its own, whose methods are called over a pipe."""

import gc
import multiprocessing
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Self

SPAWN = multiprocessing.get_context("spawn")
TIMEOUT_S = 120.0


class ChildFailed(Exception):  # noqa: N818
    """A call raised an exception; the message is the child's traceback."""


class Child:
    """Makes `factory(*arguments)` in a new process.

    If the object has a method `idle`, the process calls it repeatedly while it waits for calls.
    """

    def __init__(self, factory: Callable[..., object], *arguments: object) -> None:
        self._pipe, theirs = SPAWN.Pipe()
        self._process = SPAWN.Process(
            target=_serve, args=(theirs, factory, arguments), daemon=True, name=factory.__name__
        )
        self._process.start()
        theirs.close()

    @property
    def pid(self) -> int:
        """The id of its process."""
        assert self._process.pid is not None
        return self._process.pid

    def start(self, method: str, *arguments: object, **options: object) -> None:
        """Call a method; `finish` returns its result."""
        self._pipe.send((method, arguments, options))

    @property
    def has_answered(self) -> bool:
        """Whether `finish` would return at once."""
        return self._pipe.poll()

    def finish(self, timeout_s: float = TIMEOUT_S) -> Any:
        """Wait for the call to return."""
        if not self._pipe.poll(timeout_s):
            raise TimeoutError(f"{self._process.name} has not answered within {timeout_s} s")
        failed, result = self._pipe.recv()
        if failed:
            raise ChildFailed(result)
        return result

    def call(self, method: str, *arguments: object, **options: object) -> Any:
        """Call a method and return its result."""
        self.start(method, *arguments, **options)
        return self.finish()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.join()
        self._pipe.close()


def _serve(
    pipe: "Connection[Any, Any]", factory: Callable[..., object], arguments: tuple[object, ...]
) -> None:
    gc.disable()  # A collection stops the clock for milliseconds, and there are few cycles.
    target = factory(*arguments)
    idle = getattr(target, "idle", None)
    while True:
        while idle is not None and not pipe.poll():
            idle()
        try:
            method, given, options = pipe.recv()
        except EOFError:
            return
        try:
            answer = False, getattr(target, method)(*given, **options)
        except Exception:  # noqa: BLE001 - `finish` raises it in the calling process
            answer = True, traceback.format_exc()
        pipe.send(answer)
