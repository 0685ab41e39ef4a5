"""`@emits`: events before and after a function, taken from its arguments and its result."""

import functools
import inspect
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar, cast

from emitters.core.carry import carry
from emitters.core.ports import Emits
from emitters.core.readable import carry_text
from relay.wire.topics import parse_topic

P = ParamSpec("P")
R = TypeVar("R")

EmitterSource = Emits | Callable[[], Emits]

logger = logging.getLogger(__name__)


def emits(
    *, before: str | None = None, after: str | None = None, emitter: EmitterSource | None = None
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Emit the events named `before` and `after` around each call of the decorated function.

        @emits(before="before_backup", after="after_backup", emitter=emitter)
        def backup(server_name: str, keep: int = 3) -> dict[str, str]: ...

    `backup("survival")` emits `event:before_backup` with `{"server_name": "survival", "keep": 3}`,
    and `event:after_backup` with the same and `result`: the returned value, or
    `{"status": "error", "message": …}` if the function raised. The exception goes on to the caller.
    Values that an event cannot carry become text (`emitters.core.carry`).

    `emitter` is an emitter, or a function that returns one and is called for each call. A method
    may leave it out: then it is the `emitter` attribute of the method's object.

    Works on plain and `async` functions and methods; put it under `@classmethod` and
    `@staticmethod`. The decorated function never fails because of its events: the first that
    cannot be emitted is logged, and no other until one could be.

    Raises `InvalidTopic` for a name that no topic can have, and `TypeError` where `emitter` is
    missing, both when decorating.
    """
    topics = [
        None if name is None else parse_topic(f"event:{name}").text for name in (before, after)
    ]

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        announcer = _Announcer(function, topics[0], topics[1], emitter)
        if inspect.iscoroutinefunction(function):
            return cast(Callable[P, R], _wrap_async(function, announcer))
        return _wrap(function, announcer)

    return decorate


def _wrap(function: Callable[P, R], announcer: "_Announcer") -> Callable[P, R]:
    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        with announcer.around(args, kwargs) as call:
            result = call.result = function(*args, **kwargs)
        return result

    return wrapper


def _wrap_async(function: Callable[..., Any], announcer: "_Announcer") -> Callable[..., Any]:
    @functools.wraps(function)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        with announcer.around(args, kwargs) as call:
            result = call.result = await function(*args, **kwargs)
        return result

    return wrapper


class _Call:
    """One call of a decorated function."""

    result: object = None


class _Announcer:
    """Emits the events of one decorated function."""

    def __init__(
        self,
        function: Callable[..., Any],
        before: str | None,
        after: str | None,
        emitter: EmitterSource | None,
    ) -> None:
        if not callable(function) or inspect.isgeneratorfunction(function):
            raise TypeError(f"@emits decorates functions that return a result, not {function!r}")
        self._signature = inspect.signature(function)
        self._name = getattr(function, "__qualname__", repr(function))
        self._before = before
        self._after = after
        self._emitter = emitter
        first = next(iter(self._signature.parameters), None)
        self._owner = first if first in _OWNERS else None
        if emitter is None and self._owner is None:
            raise TypeError(f"@emits: {self._name} is not a method, so it needs emitter=")
        self._failing = False

    @contextmanager
    def around(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Iterator[_Call]:
        """Emit the event before the body and the event after it."""
        call = _Call()
        emitter, data = self._prepare(args, kwargs)
        if emitter is None:
            yield call
            return
        self._emit(emitter, self._before, data)
        # BaseException: a cancelled coroutine has an event after it too.
        try:
            yield call
        except BaseException as error:
            message = carry_text(error) or type(error).__name__
            self._emit(emitter, self._after, {**data, "result": _failure(message)})
            raise
        self._emit(emitter, self._after, {**data, "result": carry(call.result)})

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
            return self._find_emitter(bound.arguments), carry(self._arguments(bound.arguments))
        except Exception as error:  # noqa: BLE001 - the function must not fail; logged in _warn
            self._warn(error)
            return None, {}

    def _find_emitter(self, arguments: Mapping[str, Any]) -> Emits:
        if self._emitter is None:
            assert self._owner is not None
            return cast(Emits, arguments[self._owner].emitter)
        return self._emitter() if callable(self._emitter) else self._emitter

    def _arguments(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for name, parameter in self._signature.parameters.items():
            if name == self._owner:
                continue
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                data |= arguments[name]
            else:
                data[name] = arguments[name]
        return data

    def _emit(self, emitter: Emits, topic: str | None, data: dict[str, Any]) -> None:
        if topic is None:
            return
        try:
            emitter.emit(topic, data)
        except Exception as error:  # noqa: BLE001 - the function must not fail; logged in _warn
            self._warn(error)
        else:
            self._failing = False

    def _warn(self, error: Exception) -> None:
        if not self._failing:
            self._failing = True
            logger.warning("the events of %s are lost: %s", self._name, error, exc_info=error)


_OWNERS = ("self", "cls")


def _failure(message: str) -> dict[str, str]:
    return {"status": "error", "message": message}
