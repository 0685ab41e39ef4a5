"""The outcome of a function that may be asynchronous in disguise.

An async function behind a plain decorator, a lambda or a `partial` looks like a plain one, so both
are judged: the function at the call (`refuse_function`), and the returned value afterwards. A
coroutine, another awaitable or a future is waited for. A generator has not run yet, and nobody
will run it: it is refused.
"""

import asyncio
import contextlib
import functools
import inspect
from collections.abc import Callable
from concurrent.futures import Future
from types import GeneratorType
from typing import Any

from emitters.core.readable import carry_text, type_name

_LAZY = (map, filter)

Stop = Callable[[], object]
"""Asks that what is waited for ends as cancelled. It may be called from any thread, at any time."""
Watch = Callable[[Stop], None]
"""Learns how to stop each thing that is waited for, before it is."""


def refuse_function(function: object, user: str) -> None:
    """Raise `TypeError` unless `function` is callable and, as far as can be seen, is no generator.

    `user` is the name of the function or decorator that was given it.
    """
    if not callable(function):
        called = is_awaitable(function) or is_generator(function)
        hint = ": leave out the parentheses behind its function" if called else ""
        raise TypeError(
            f"{user} takes a function, not the {type_name(function)} {_shown(function)}{hint}"
        )
    if any(_is_generator_function(each) for each in _called(function)):
        raise TypeError(
            f"{user} takes functions that return a result; {_shown(function)} is a generator"
        )


def is_async_function(function: object) -> bool:
    """Return whether `function` is known to return a coroutine."""
    return any(inspect.iscoroutinefunction(each) for each in _called(function))


def is_awaitable(value: object) -> bool:
    """Return whether `value` can be awaited. By its type: a proxy may claim anything."""
    # A coroutine made from a generator has no `__await__`.
    return hasattr(type(value), "__await__") or (
        issubclass(type(value), GeneratorType) and inspect.isawaitable(value)
    )


def is_future(value: object) -> bool:
    """Return whether `value` is a future of `asyncio` or of `concurrent.futures`."""
    return issubclass(type(value), asyncio.Future | Future)


def is_generator(value: object) -> bool:
    """Return whether `value` is a generator, plain or async, whose body has not run."""
    # By its methods: the abstract classes run Python code, which a full stack does not let run.
    kind = type(value)
    return not is_awaitable(value) and (
        (hasattr(kind, "throw") and hasattr(kind, "__next__"))
        or (hasattr(kind, "athrow") and hasattr(kind, "__anext__"))
    )


def refusal_of(function: object, value: object) -> str:
    """Return the text that refuses the generator `value`, which `function` returned."""
    return (
        f"{_shown(function)} returned a {type_name(value)}, whose body has not run: it should be"
        " a function that returns a result"
    )


def _unwatched(_stop: Stop) -> None:
    """Nobody stops it."""


def settle(function: object, value: object, watch: Watch = _unwatched) -> Any:
    """Return the outcome of `value`, which `function` returned, or raise its exception.

    Waits for awaitables and futures, also for those that they return. For a thread that runs no
    event loop. Raises `TypeError` for a generator, a `map` or a `filter`, and the `CancelledError`
    of `asyncio` or of `concurrent.futures` when it was stopped.
    """
    while True:
        if is_future(value):
            value = _result_of(value, watch)
        elif is_awaitable(value):
            value = _checked(asyncio.run(_outcome(value, watch)))
        elif is_generator(value) or issubclass(type(value), _LAZY):
            raise TypeError(refusal_of(function, value))
        else:
            return value


async def _outcome(value: Any, watch: Watch) -> tuple[Any, BaseException | None]:
    """Return the outcome of `value`, or the exception. It does not raise: an event loop does not
    survive exceptions of every kind."""
    task = asyncio.current_task()
    assert task is not None
    watch(functools.partial(_stop_soon, asyncio.get_running_loop(), task))
    try:
        # In one event loop: a task that the coroutine returned belongs to this one.
        while is_awaitable(value):
            value = await value
    except BaseException as error:  # noqa: BLE001 - the caller raises it
        return None, error
    return value, None


def _stop_soon(loop: asyncio.AbstractEventLoop, task: "asyncio.Task[Any]") -> None:
    # Its loop is closed if it has ended meanwhile.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(task.cancel)


def _checked(outcome: tuple[Any, BaseException | None]) -> Any:
    value, error = outcome
    if error is not None:
        raise error
    return value


def _result_of(future: Any, watch: Watch) -> Any:
    if isinstance(future, Future):
        watch(future.cancel)
        return future.result()
    if future.done():
        return future.result()
    loop = future.get_loop()
    if not loop.is_running():
        raise RuntimeError("the function returned a future of an event loop that does not run")
    return _checked(asyncio.run_coroutine_threadsafe(_outcome(future, watch), loop).result())


def _called(function: object) -> tuple[object, object]:
    """Return the function behind a `partial`, and the method that calling it calls."""
    while isinstance(function, functools.partial):
        function = function.func
    return function, type(function).__call__


def _is_generator_function(function: object) -> bool:
    return inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)


def _shown(function: object) -> str:
    name = getattr(function, "__qualname__", None)
    return name if isinstance(name, str) else carry_text(function, 200)
