"""The text and the result with which a task or a function has failed, from any exception."""

from typing import NamedTuple

from emitters.core.readable import STOPS, carry_text, type_name

MAX_MESSAGE_BYTES = 4096
MAX_NAMED_ERRORS = 10
"""Of an exception group, so many exceptions are named."""


class TaskFailed(Exception):  # noqa: N818 - the name says what it is at every call site
    """Raised by a task's function: the task ends as an error with this message and `result`."""

    result: object = None
    """Also of a subclass that does not call this class's constructor."""

    def __init__(self, message: str, result: object = None) -> None:
        super().__init__(message)
        self.result = result


class Failure(NamedTuple):
    """The end of a failed call, for its user."""

    message: str
    result: object
    """Any value: the one that a `TaskFailed` gave, else None."""


def failure_of(error: BaseException) -> Failure:
    """Return message and result for `error`.

    The message is the error's text. That of an error without a text, and of one that is no
    `Exception` (`SystemExit: 3`, `CancelledError`), begins with its type. A group with one
    exception counts as that exception, as `asyncio.TaskGroup` raises them; of a larger group the
    exceptions are named. Raises nothing but `STOPS`.
    """
    try:
        error = _alone(error)
        message = _message_of_group(error) if _is_group(error) else _message(error)
        return Failure(message, _result(error))
    except STOPS:
        raise
    except BaseException:  # noqa: BLE001 - a stranger's exception may raise anything when read
        return Failure(carry_text(error, MAX_MESSAGE_BYTES), None)


def _is_group(error: BaseException) -> bool:
    return issubclass(type(error), BaseExceptionGroup)


def _alone(error: BaseException) -> BaseException:
    # Not without an end: a subclass may say that it contains itself.
    for _ in range(MAX_NAMED_ERRORS):
        if _is_group(error) and len(error.exceptions) == 1:  # type: ignore[attr-defined]
            (error,) = error.exceptions  # type: ignore[attr-defined]
    return error


def _message(error: BaseException) -> str:
    text = carry_text(error, MAX_MESSAGE_BYTES)
    if issubclass(type(error), Exception):
        return text or type_name(error)
    return f"{type_name(error)}: {text}" if text else type_name(error)


def _message_of_group(error: BaseException) -> str:
    members = error.exceptions  # type: ignore[attr-defined]
    named = "; ".join(_message(each) for each in members[:MAX_NAMED_ERRORS])
    return carry_text(f"{carry_text(error)}: {named}", MAX_MESSAGE_BYTES)


def _result(error: BaseException) -> object:
    return error.result if issubclass(type(error), TaskFailed) else None  # type: ignore[attr-defined]
