"""`@emits` around functions that are async in disguise, and around values that raise when read."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Generator
from concurrent.futures import Future
from typing import Any

import pytest

from emitters.decorators import emits
from tests.emitters.core.test_failure import OddAttributes, OddText
from tests.emitters.recording import RecordingEmitter
from tests.emitters.test_returned import (
    DISGUISES,
    GeneratorCall,
    async_generator,
    double,
    generator,
    plainly,
)


@pytest.fixture
def emitter() -> RecordingEmitter:
    return RecordingEmitter()


def results(emitter: RecordingEmitter) -> list[Any]:
    return [each.data.get("result", "before") for each in emitter.emitted]


def failure(message: str) -> dict[str, str]:
    return {"status": "error", "message": message}


def raises(error: BaseException) -> Callable[..., Any]:
    def act(*_: object) -> Any:
        raise error

    return act


class Waits:
    """An awaitable that is no coroutine, and fails."""

    def __await__(self) -> Generator[Any, None, int]:
        yield from asyncio.sleep(0).__await__()
        raise ValueError("disk full")


NOT_FUTURES = [name for name in DISGUISES if "returns a" not in name and "thread" not in name]


@pytest.mark.parametrize("name", NOT_FUTURES)
def test_the_event_after_follows_the_outcome(emitter: RecordingEmitter, name: str) -> None:
    function = emits(before="x", after="y", emitter=emitter)(DISGUISES[name])

    async def main() -> Any:
        pending = function(21)
        if isinstance(pending, Awaitable):
            assert "before" in results(emitter) or not emitter.emitted
            assert 42 not in results(emitter), "the event after comes after the outcome"
            return await pending
        return pending

    assert asyncio.run(main()) == 42
    assert results(emitter) == ["before", 42]


@pytest.mark.parametrize("function", [lambda: Waits(), lambda: fails_later()])
def test_the_exception_of_an_awaitable_is_told_and_raised(
    emitter: RecordingEmitter, function: Callable[[], Any]
) -> None:
    decorated = emits(after="y", emitter=emitter)(function)

    async def main() -> None:
        await decorated()

    with pytest.raises(ValueError, match="disk full"):
        asyncio.run(main())
    assert results(emitter) == [{"status": "error", "message": "disk full"}]


async def fails_later() -> None:
    await asyncio.sleep(0)
    raise ValueError("disk full")


def test_a_task_of_the_running_loop_stays_itself(emitter: RecordingEmitter) -> None:
    tasks: list[Any] = []

    @emits(before="x", after="y", emitter=emitter)
    def start() -> Any:
        tasks.append(asyncio.get_running_loop().create_task(double(21)))
        return tasks[-1]

    async def main() -> None:
        assert start() is tasks[0]
        assert results(emitter) == ["before"]
        assert await tasks[0] == 42
        cancelled = start()
        cancelled.cancel()
        await asyncio.wait([cancelled])

    asyncio.run(main())
    ended = {"status": "error", "message": "CancelledError"}
    assert results(emitter) == ["before", 42, "before", ended]


def test_a_future_of_another_threads_loop_is_watched_there(emitter: RecordingEmitter) -> None:
    async def main() -> None:
        future = asyncio.get_running_loop().create_future()
        start = emits(after="y", emitter=emitter)(lambda: future)
        assert await asyncio.to_thread(start) is future
        future.set_result(7)
        # Callbacks of a future run in the order in which they were added.
        done = asyncio.Event()
        future.add_done_callback(lambda _: done.set())
        await asyncio.wait_for(done.wait(), 10)

    asyncio.run(main())
    assert results(emitter) == [7]


def test_a_future_of_a_closed_loop_harms_nothing(
    emitter: RecordingEmitter, caplog: pytest.LogCaptureFixture
) -> None:
    loop = asyncio.new_event_loop()
    future = loop.create_future()
    loop.close()
    assert emits(after="y", emitter=emitter)(lambda: future)() is future
    assert "are lost" in caplog.text


@pytest.mark.parametrize(
    ("settle", "result"),
    [
        (lambda future: future.set_result({1, 2}), [1, 2]),
        (
            lambda future: future.set_exception(ValueError("no")),
            {"status": "error", "message": "no"},
        ),
        (lambda future: future.cancel(), {"status": "error", "message": "CancelledError"}),
    ],
)
@pytest.mark.parametrize("is_done_before", [True, False])
def test_a_future_of_a_thread_stays_itself(
    emitter: RecordingEmitter, settle: Callable[[Any], Any], result: Any, is_done_before: bool
) -> None:
    future: Future[Any] = Future()
    if is_done_before:
        settle(future)
    assert emits(after="y", emitter=emitter)(lambda: future)() is future
    if not is_done_before:
        assert emitter.emitted == []
        settle(future)
    assert results(emitter) == [result]


@pytest.mark.parametrize("function", [generator, async_generator, GeneratorCall()])
def test_generator_functions_are_refused_when_decorating(
    emitter: RecordingEmitter, function: Any
) -> None:
    with pytest.raises(TypeError, match=r"@emits takes functions that return a result"):
        emits(before="x", emitter=emitter)(function)


@pytest.mark.parametrize("function", [plainly(generator), lambda number: async_generator(number)])
def test_a_function_that_returned_a_generator_is_refused_at_the_call(
    emitter: RecordingEmitter, function: Any
) -> None:
    with pytest.raises(TypeError, match="generator, whose body has not run"):
        emits(before="x", after="y", emitter=emitter)(function)(1)
    assert results(emitter)[-1]["status"] == "error"


def test_an_async_function_that_returned_a_generator_is_refused(emitter: RecordingEmitter) -> None:
    async def function() -> Any:
        return generator(1)

    with pytest.raises(TypeError, match="whose body has not run"):
        asyncio.run(emits(after="y", emitter=emitter)(function)())


@pytest.mark.parametrize("emitter_argument", ["manager-1", 7, double])
def test_a_wrong_emitter_is_refused_when_decorating(emitter_argument: Any) -> None:
    with pytest.raises(TypeError, match="emitter must be an emitter or a plain function"):
        emits(before="x", emitter=emitter_argument)(len)


ERRORS: dict[str, BaseException] = {
    "text raises": OddText(raises(RuntimeError("no"))),
    "text is none": OddText(lambda: None),
    "no attributes": OddAttributes(),
    "memory": MemoryError(),
    "deep": RecursionError(),
    "generator exit": GeneratorExit(),
    "cancelled": asyncio.CancelledError(),
    "group": BaseExceptionGroup("several", [GeneratorExit(), SystemExit()]),
}


@pytest.mark.parametrize("name", ERRORS)
def test_the_functions_exception_goes_on_whatever_it_is(
    emitter: RecordingEmitter, name: str
) -> None:
    error = ERRORS[name]
    function = emits(before="x", after="y", emitter=emitter)(raises(error))
    caught: list[BaseException] = []
    try:
        function()
    except BaseException as raised:  # noqa: BLE001 - `pytest.raises` reads its attributes
        caught.append(raised)
    assert len(caught) == 1
    assert caught[0] is error
    assert results(emitter)[1]["status"] == "error"


@pytest.mark.parametrize("name", ERRORS)
def test_hooks_and_values_that_raise_harm_nothing(
    emitter: RecordingEmitter, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    error = ERRORS[name]

    class Broken:
        emit = raises(error)

    value = OddText(raises(error))
    broken: Any = Broken()
    logging.getLogger("emitters.decorators").addFilter(without_traceback)
    try:
        for source in (raises(error), broken, emitter):
            decorate = emits(before="x", after="y", emitter=source, include=["each"])
            function = decorate(lambda each: each)
            assert function(value) is value
    finally:
        logging.getLogger("emitters.decorators").removeFilter(without_traceback)
    assert len(caplog.records) == 2
    text = "(OddText without a readable text)"
    assert [each.data for each in emitter.emitted] == [
        {"each": text},
        {"each": text, "result": text},
    ]


def without_traceback(record: logging.LogRecord) -> bool:
    """Leave out the traceback, which the handler of pytest cannot format for these exceptions."""
    record.exc_info = None
    return True


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_the_end_of_the_process_goes_on_from_everywhere(
    emitter: RecordingEmitter, stop: type[BaseException]
) -> None:
    class Broken:
        emit = raises(stop())

    broken: Any = Broken()
    for source in (raises(stop()), broken):
        with pytest.raises(stop):
            emits(before="x", emitter=source)(lambda: None)()
    with pytest.raises(stop):
        emits(after="y", emitter=emitter)(lambda: OddText(raises(stop())))()


def test_a_call_that_uses_the_stack_up_is_the_callers_error_alone(
    emitter: RecordingEmitter,
) -> None:
    """At each depth the decorated function either ran or the caller sees that it did not."""

    class Values(list[int]):
        """A class of which nobody has asked yet whether it is a generator or the like."""

    ran: list[int] = []
    failed: list[int] = []
    """Calls whose function ran, and whose events failed them."""

    @emits(before="x", after="y", emitter=emitter)
    def function(value: list[int]) -> list[int]:
        ran.append(1)
        return value

    def deeper() -> None:
        with contextlib.suppress(RecursionError):
            deeper()
        before = len(ran)
        try:
            function(Values([1]))
        except RecursionError:
            # No `assert`, which needs more of the stack.
            if len(ran) != before:
                failed.append(before)

    deeper()
    assert ran
    assert failed == []
