"""An async function is recognised in each disguise, and a generator is refused by its name."""

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from emitters.returned import is_async_function, refuse_function, settle


async def double(number: int) -> int:
    await asyncio.sleep(0)
    return 2 * number


def plainly(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate as a decorator does that knows nothing of async functions."""

    @functools.wraps(function)
    def wrapper(*args: Any) -> Any:
        return function(*args)

    return wrapper


class AsyncCall:
    async def __call__(self, number: int) -> int:
        return await double(number)

    async def method(self, number: int) -> int:
        return await double(number)

    @classmethod
    async def of_class(cls, number: int) -> int:
        return await double(number)


class Later:
    """An awaitable that is no coroutine."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __await__(self) -> Generator[Any, None, int]:
        return double(self._number).__await__()


async def returns_another(number: int) -> Awaitable[int]:
    return asyncio.get_running_loop().create_task(double(number))


def in_a_thread(number: int) -> Future[int]:
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(lambda: 2 * number)


DISGUISES: dict[str, Callable[[int], Any]] = {
    "function": double,
    "plainly decorated": plainly(double),
    "lambda": lambda number: double(number),
    "partial": functools.partial(double),
    "partial of a partial": functools.partial(functools.partial(double)),
    "partial of a call": functools.partial(AsyncCall()),
    "object": AsyncCall(),
    "method": AsyncCall().method,
    "class method": AsyncCall.of_class,
    "awaitable": Later,
    "coroutine that returns a task": returns_another,
    "coroutine that returns a coroutine": plainly(returns_another),
    "future of a thread": in_a_thread,
    "coroutine that returns a future": lambda number: _async(in_a_thread, number),
    "plain": lambda number: 2 * number,
}


async def _async(function: Callable[..., Any], *args: Any) -> Any:
    return function(*args)


@pytest.mark.parametrize("function", DISGUISES.values(), ids=DISGUISES)
def test_a_function_in_each_disguise_runs_to_its_end(function: Callable[[int], Any]) -> None:
    refuse_function(function, "run_task")
    assert settle(function, function(21)) == 42


@pytest.mark.parametrize(
    "name", ["function", "partial", "partial of a call", "object", "method", "class method"]
)
def test_async_functions_that_show_it(name: str) -> None:
    assert is_async_function(DISGUISES[name])
    assert not is_async_function(DISGUISES["plain"])


def must_not_run(number: int) -> int:
    raise AssertionError(f"{number}")


def generator(number: int) -> Iterator[int]:
    yield must_not_run(number)


async def async_generator(number: int) -> AsyncIterator[int]:
    yield must_not_run(number)


class GeneratorCall:
    def __call__(self, number: int) -> Iterator[int]:
        yield from generator(number)


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (generator, "generator"),
        (async_generator, "async_generator"),
        (functools.partial(generator), "functools.partial"),
        (GeneratorCall(), "GeneratorCall"),
        (GeneratorCall().__call__, "GeneratorCall.__call__"),
    ],
)
def test_generator_functions_are_refused_at_the_call(function: Any, name: str) -> None:
    with pytest.raises(TypeError, match=rf"run_task takes functions.*{name}"):
        refuse_function(function, "run_task")


@pytest.mark.parametrize("value", [None, 7, "backup", [len], object()])
def test_other_values_are_refused_by_their_type(value: object) -> None:
    with pytest.raises(TypeError, match=f"takes a function, not the {type(value).__name__}"):
        refuse_function(value, "run_task")


def test_a_coroutine_in_place_of_its_function_is_refused() -> None:
    coroutine = double(1)
    with pytest.raises(TypeError, match="leave out the parentheses"):
        refuse_function(coroutine, "run_task")
    coroutine.close()


@pytest.mark.parametrize(
    "function",
    [
        plainly(generator),
        plainly(async_generator),
        lambda number: generator(number),
        lambda number: map(generator, [number]),
        lambda number: filter(generator, [number]),
        lambda number: _async(generator, number),
        lambda number: _async(async_generator, number),
    ],
)
def test_a_generator_that_was_returned_is_refused(function: Callable[[int], Any]) -> None:
    with pytest.raises(TypeError, match="whose body has not run"):
        settle(function, function(1))


def test_a_future_of_a_running_loop_is_waited_for() -> None:
    async def main() -> list[int]:
        futures = [asyncio.create_task(double(21)) for _ in range(2)]
        settled = await asyncio.to_thread(settle, double, futures[0])
        return [settled, settle(double, futures[0]), await futures[1]]

    assert asyncio.run(main()) == [42, 42, 42]


def test_a_future_of_a_loop_that_does_not_run_is_an_error() -> None:
    loop = asyncio.new_event_loop()
    try:
        with pytest.raises(RuntimeError, match="event loop that does not run"):
            settle(double, loop.create_future())
    finally:
        loop.close()


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3), asyncio.CancelledError()])
def test_the_exception_of_a_coroutine_is_raised(error: BaseException) -> None:
    async def fails() -> None:
        raise error

    with pytest.raises(type(error)):
        settle(fails, fails())
