"""`@emits`: events before and after a function, taken from its arguments and its result."""

import asyncio
import functools
import inspect
import logging
from asyncio import CancelledError
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from typing import Any, ParamSpec, TypeVar, cast

from emitters.core.carry import carry
from emitters.core.event_arguments import ChosenArguments
from emitters.core.failure import failure_of
from emitters.core.ports import Emits
from emitters.core.readable import STOPS, carry_text, type_name
from emitters.fault_log import log_fault
from emitters.returned import (
    is_async_function,
    is_awaitable,
    is_future,
    is_generator,
    refusal_of,
    refuse_function,
)
from relay.wire.topics import parse_topic

P = ParamSpec("P")
R = TypeVar("R")

EmitterSource = Emits | Callable[[], Emits]

logger = logging.getLogger(__name__)


def emits(
    *,
    before: str | None = None,
    after: str | None = None,
    emitter: EmitterSource | None = None,
    exclude: Collection[str] = (),
    include: Collection[str] = (),
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Emit the events named `before` and `after` around each call of the decorated function.

        @emits(before="before_backup", after="after_backup", emitter=emitter)
        def backup(server_name: str, keep: int = 3) -> dict[str, str]: ...

    `backup("survival")` emits `event:before_backup` with `{"server_name": "survival", "keep": 3}`,
    and `event:after_backup` with the same and `result`: the returned value, or
    `{"status": "error", "message": …}` if the function raised. The exception goes on to the caller.

    Arguments in `exclude` are left out. So are those with the word of a secret in their names
    (`password`, `api_key`: `emitters.core.event_arguments`) and objects without a JSON form, unless
    they are in `include`. Other values that an event cannot carry become text (`carry`).

    `emitter` is an emitter, or a function that returns one, for each call. A method may leave it
    out: then it is the `emitter` attribute of the method's object.

    Works on plain and `async` functions and methods; put it under `@classmethod` and
    `@staticmethod`. If a plain function returns an awaitable, the event after it follows its
    outcome, and the caller gets a coroutine that awaits it, or the same future.

    The function never fails because of its events: the first that cannot be emitted is logged, and
    no other until one could be. Only `KeyboardInterrupt` and `SystemExit` go on to the caller.

    Raises `InvalidTopic` for a name that no topic can have, and `TypeError` for a wrong emitter, a
    name that is no parameter, and a generator function; at the call if it only returns a generator.
    """
    topics = (_topic(before), _topic(after))

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        return _announced(function, _Announcer(function, topics, emitter, exclude, include))

    return decorate


def _announced(function: Callable[P, R], announcer: "_Announcer") -> Callable[P, R]:
    if is_async_function(function):
        return cast(Callable[P, R], _wrap_async(function, announcer))
    return _wrap(function, announcer)


def _topic(name: str | None) -> str | None:
    return None if name is None else parse_topic(f"event:{name}").text


def _wrap(function: Callable[P, R], announcer: "_Announcer") -> Callable[P, R]:
    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        call = announcer.begin(args, kwargs)
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            call.failed(error)
            raise
        return cast(R, call.returned(result))

    return wrapper


def _wrap_async(function: Callable[..., Any], announcer: "_Announcer") -> Callable[..., Any]:
    @functools.wraps(function)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        call = announcer.begin(args, kwargs)
        # BaseException: a cancelled coroutine has an event after it too.
        try:
            result = await function(*args, **kwargs)
        except BaseException as error:
            call.failed(error)
            raise
        return call.returned(result)

    return wrapper


class _Announcer:
    """Emits the events of one decorated function."""

    def __init__(
        self,
        function: Callable[..., Any],
        topics: tuple[str | None, str | None],
        emitter: EmitterSource | None,
        exclude: Collection[str],
        include: Collection[str],
    ) -> None:
        refuse_function(function, "@emits")
        self.function = function
        self._signature = inspect.signature(function)
        self._chosen = ChosenArguments(self._signature, exclude, include)
        self._name = getattr(function, "__qualname__", type_name(function))
        self._before, self._after = topics
        self._emitter = emitter
        first = next(iter(self._signature.parameters), None)
        self._owner = first if first in _OWNERS else None
        if emitter is None and self._owner is None:
            raise TypeError(f"@emits: {self._name} is not a method, so it needs emitter=")
        if emitter is not None and not _is_source(emitter):
            raise TypeError(
                f"@emits: emitter must be an emitter or a plain function that returns one,"
                f" not {type_name(emitter)}"
            )
        self._failing = False

    def begin(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> "_AnnouncedCall":
        """Emit the event before the function; return the call, whose end the caller states."""
        emitter, data = self._prepare(args, kwargs)
        if emitter is not None:
            self._emit(emitter, self._before, lambda: data)
        return _AnnouncedCall(self, emitter, data)

    def end(self, emitter: Emits, data: dict[str, Any], result: Callable[[], Any]) -> None:
        """Emit the event after the function with the value of `result`."""
        self._emit(emitter, self._after, lambda: {**data, "result": result()})

    def _prepare(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[Emits | None, dict[str, Any]]:
        """Return the emitter and the bound arguments, or None when there is nothing to emit."""
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError:
            return None, {}  # The function itself is about to raise the same.
        bound.apply_defaults()
        try:
            return self._find_emitter(bound.arguments), carry(
                self._chosen(bound.arguments, self._owner)
            )
        except STOPS:
            raise
        except BaseException as error:  # noqa: BLE001 - the function must not fail; logged
            self.warn(error)
            return None, {}

    def _find_emitter(self, arguments: Mapping[str, Any]) -> Emits:
        if self._emitter is None:
            assert self._owner is not None
            return cast(Emits, arguments[self._owner].emitter)
        return self._emitter() if callable(self._emitter) else self._emitter

    def _emit(self, emitter: Emits, topic: str | None, make: Callable[[], dict[str, Any]]) -> None:
        if topic is None:
            return
        try:
            emitter.emit(topic, make())
        except STOPS:
            raise
        except BaseException as error:  # noqa: BLE001 - the function must not fail; logged
            self.warn(error)
        else:
            self._failing = False

    def warn(self, error: BaseException) -> None:
        """Log the first of several failures."""
        if self._failing:
            return
        self._failing = True
        log_fault(logger, error, "the events of %s are lost: %s", self._name, carry_text(error))


class _AnnouncedCall:
    """One call of a decorated function, whose outcome is still to come."""

    def __init__(self, announcer: _Announcer, emitter: Emits | None, data: dict[str, Any]) -> None:
        self._announcer = announcer
        self._emitter = emitter
        """None if nothing is emitted."""
        self._data = data

    def failed(self, error: BaseException) -> None:
        """Emit the event after a call that raised `error`."""
        self._end(lambda: {"status": "error", "message": failure_of(error).message})

    def returned(self, result: Any) -> Any:
        """Take the result, emit the event after it when it is there, and return it.

        Raises `TypeError` for a generator.
        """
        if is_future(result):
            self._watch(result)
        elif is_awaitable(result):
            return self._outcome(result)
        elif is_generator(result):
            error = TypeError(refusal_of(self._announcer.function, result))
            self.failed(error)
            raise error
        else:
            self._end(lambda: carry(result))
        return result

    async def _outcome(self, awaitable: Any) -> Any:
        try:
            result = await awaitable
        except BaseException as error:
            self.failed(error)
            raise
        return self.returned(result)

    def _watch(self, future: Any) -> None:
        """Emit the event after the function when `future` is done."""
        if future.done():
            self._done(future)
        elif isinstance(future, Future) or _is_running(future.get_loop()):
            future.add_done_callback(self._done)
        else:
            # A future of `asyncio` may be used in the thread of its loop only.
            try:
                future.get_loop().call_soon_threadsafe(future.add_done_callback, self._done)
            except RuntimeError as error:  # Its loop is closed.
                self._announcer.warn(error)

    def _done(self, future: Any) -> None:
        error = CancelledError() if future.cancelled() else future.exception()
        if error is not None:
            self.failed(error)
        else:
            self._end(lambda: carry(future.result()))

    def _end(self, result: Callable[[], Any]) -> None:
        if self._emitter is not None:
            self._announcer.end(self._emitter, self._data, result)


_OWNERS = ("self", "cls")


def _is_source(emitter: object) -> bool:
    return hasattr(emitter, "emit") or (callable(emitter) and not is_async_function(emitter))


def _is_running(loop: asyncio.AbstractEventLoop) -> bool:
    """Return whether this code is called by `loop`."""
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False
