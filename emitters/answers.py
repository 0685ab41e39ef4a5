"""`Answers`: functions of this process that answer requests of clients (protocol section 7).

    answers = Answers()

    @answers("restart_server")
    def restart(call: Call, server_name: str) -> dict[str, str]: ...

One thread owns the socket, and renews the registration at the relay. Further ones run the
functions. It needs no `Emitter`.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, NamedTuple, Self, TypeVar

import msgpack

from emitters.call_socket import CallSocket
from emitters.call_workers import ENDING, CallWorkers
from emitters.config import EmitterSettings
from emitters.core.json_values import Default, json_value
from emitters.core.readable import carry_text
from emitters.errors import EmitterError
from emitters.exit_hook import ExitHook
from emitters.forks import in_forked_child
from emitters.real_threads import refuse_gevent, refuse_other_green_threads
from emitters.returned import is_awaitable, refuse_function
from relay.shared.call_arguments import arguments_of
from relay.shared.logs import LimitedLog
from relay.shared.settings import load
from relay.wire.calls import (
    MAX_MESSAGE_CHARS,
    MAX_METHOD_CHARS,
    MAX_METHODS,
    MAX_RESULT_BYTES,
    CallNotice,
    is_method,
)
from relay.wire.envelope import check_value

F = TypeVar("F", bound=Callable[..., Any])
CLOSE_TIMEOUT_S = 5.0

logger = logging.getLogger(__name__)


class Call(NamedTuple):
    """A request of a client."""

    method: str
    username: str
    """The user, as the edge has authenticated it."""
    role: str
    timeout_s: float
    """Seconds for which the client waits, from the beginning."""


class CallFailed(EmitterError):  # noqa: N818 - raised by functions, for the client to read
    """The request failed; the text goes to the client. Other exceptions are only logged."""


class Answers:
    """Registers functions, and answers with what they return.

    `max_workers` functions run at a time, in daemon threads; of the requests that wait, users take
    turns. `default` is called with each value of a result that has no JSON form, and returns one
    that has. A request reaches one process, once or never: if that process ends before it has
    answered, the client learns after its timeout.

    In a forked process it begins without functions: those of the parent answer in the parent.

    Raises `relay.shared.settings.SettingsError` for a setting that cannot be used, `RuntimeError`
    where gevent has replaced threads.
    """

    def __init__(
        self,
        *,
        name: str | None = None,
        control: str | None = None,
        max_workers: int = 4,
        default: Default | None = None,
    ) -> None:
        refuse_other_green_threads()
        refuse_gevent("Answers")
        if max_workers < 1:
            raise ValueError(f"max_workers must be at least 1, not {max_workers}")
        self._settings = load(EmitterSettings, name=name, relay_control=control)
        self._default = default
        self._max_workers = max_workers
        self._log = LimitedLog(logger)
        self._exit_hook = ExitHook(self.close)
        self._begin()
        in_forked_child(self, Answers._begin)

    def _begin(self) -> None:
        """Begin without functions and without threads."""
        self._functions: dict[str, Callable[..., Any]] = {}
        self._workers = CallWorkers(self._answer, self._max_workers)
        self._socket = CallSocket(self._settings, self._take)

    def __call__(self, method: str) -> Callable[[F], F]:
        """Have the decorated function answer `method`: plain or async, its first argument a `Call`.

        The client's `params` become keyword arguments if they are a map, positional ones if they
        are a list. The result may be what `Emitter.emit` takes as `data`.

        Raises `ValueError` for a name that no method can have, or that has a function already, and
        `TypeError` for what is no function.
        """
        if not isinstance(method, str) or not is_method(method):
            raise ValueError(
                f"{method!r} is not a method: use 1 to {MAX_METHOD_CHARS} of a-z, 0-9, '_', '.' and"
                " '-', a letter first"
            )

        def register(function: F) -> F:
            refuse_function(function, "answers")
            if method in self._functions:
                raise ValueError(f"{method!r} has a function already")
            if len(self._functions) >= MAX_METHODS:
                raise ValueError(f"at most {MAX_METHODS} methods are allowed")
            self._functions[method] = function
            self._socket.serve(tuple(self._functions))
            if len(self._functions) == 1:
                self._exit_hook.register()
            return function

        return register

    def wait_registered(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds until the relay knows the methods; return whether so."""
        return self._socket.wait_registered(timeout)

    def close(self, timeout: float = CLOSE_TIMEOUT_S) -> None:
        """Take no more requests, wait up to `timeout` seconds for those that run, and end."""
        self._exit_hook.cancel()
        self._socket.serve(())
        for notice in self._workers.close(timeout):
            self._socket.answer(notice.call, message=ENDING)
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # In the thread of the socket.

    def _take(self, notice: CallNotice) -> None:
        problem = self._workers.take(notice)
        if problem is not None:
            self._socket.answer(notice.call, message=problem)

    # In a thread of the workers.

    def _answer(self, notice: CallNotice) -> None:
        result: bytes | None = None
        message: str | None = None
        try:
            result = self._result(notice)
        except CallFailed as failed:
            message = carry_text(failed)[:MAX_MESSAGE_CHARS] or "failed"
        except BaseException:  # noqa: BLE001 - logged; also `SystemExit`: others are answered
            # Its text may tell what no client should know.
            self._log.exception(notice.method, "the answer to %s has failed", notice.method)
            message = "internal error"
        self._socket.answer(notice.call, result, message)

    def _result(self, notice: CallNotice) -> bytes:
        function = self._functions.get(notice.method)
        if function is None:
            raise CallFailed(f"no function answers {notice.method!r}")
        call = Call(notice.method, notice.username, notice.role, notice.timeout_s)
        try:
            args, kwargs = arguments_of(function, call, msgpack.unpackb(notice.params))
        except TypeError as error:
            raise CallFailed(f"{notice.method}: {error}") from None
        value = function(*args, **kwargs)
        if is_awaitable(value):
            value = asyncio.run(_awaited(value))
        carried = json_value(value, self._default, "result")
        # Clients would read NaN as null, and a greater integer as another one.
        check_value(carried, "result")
        packed: bytes = msgpack.packb(carried)
        if len(packed) > MAX_RESULT_BYTES:
            raise ValueError(f"the result has more than {MAX_RESULT_BYTES} bytes")
        return packed


async def _awaited(value: Any) -> Any:
    return await value
