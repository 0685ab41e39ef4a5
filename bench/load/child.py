"""An object that lives in a process of its own, and whose methods are called over a pipe."""

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
    """A call raised; the message is the child's traceback."""


class Child:
    """Makes `factory(*arguments)` in a new process.

    An object with a method `idle` has that called again and again while it waits for calls.
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
        """Its process."""
        assert self._process.pid is not None
        return self._process.pid

    def start(self, method: str, *arguments: object, **options: object) -> None:
        """Call a method; `finish` returns what it returns."""
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
        """Call a method and return what it returns."""
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
    gc.disable()  # It would stop the clock for milliseconds, and there are no cycles to speak of.
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
        except Exception:  # noqa: BLE001 - it is raised where the call was made
            answer = True, traceback.format_exc()
        pipe.send(answer)
