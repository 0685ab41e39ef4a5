"""Calls the functions of the application, and reads what they return."""

import asyncio
import contextlib
import inspect
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from starlette.concurrency import run_in_threadpool

from edge.core.identity.access import DEFAULT_ROLE, NEVER, Identity
from edge.core.identity.tokens import is_encodable
from relay.wire.errors import InvalidTopic
from relay.wire.grants import USERNAME, check_names, own_pattern
from relay.wire.topics import Pattern, is_kind, parse_pattern
from relay.wire.usernames import normal_username

AppFunction = Callable[..., Any]
"""A plain function, or one that returns an awaitable."""


@dataclass(frozen=True, slots=True)
class AppIdentity(Identity):
    """A user by the word of the application."""

    user: Any = None
    """The object that `authenticate` returned."""
    allowed: dict[Pattern, bool] = field(default_factory=dict, compare=False, repr=False)
    """The answers of `authorize` about the subscriptions of one connection."""
    may_publish: dict[str, bool] = field(default_factory=dict, compare=False, repr=False)
    """Its answers about the topics of the request that is acted on."""
    may_call: dict[str, bool] = field(default_factory=dict, compare=False, repr=False)
    """Its answers about the method of the request that is acted on."""

    def owns(self, topic: str, own: str) -> bool:
        """Return whether `topic`, a topic or a pattern, is one of `own`, or part of it.

        `own` is such as `private:{username}:*`. Raises `ValueError` if it is no such pattern.
        """
        kind, colon, names = own.partition(":")
        if not (colon and is_kind(kind) and USERNAME in check_names(names)):
            raise ValueError(f"own must be such as private:{USERNAME}:* (it is {own!r})")
        try:
            asked = parse_pattern(topic)
            return asked.meet(own_pattern(own, self.username)) == asked
        except InvalidTopic:
            return False


class FunctionCancelled(Exception):  # noqa: N818
    """A function of the application has ended with a `CancelledError` of its own.

    What it waited for was cancelled, and nobody has cancelled the task that called it.
    """


async def call(function: AppFunction, *args: Any, **kwargs: Any) -> Any:
    """Return what `function` returns; a plain one runs in a thread, because it may block.

    Raises what it raises, but `FunctionCancelled` for a `CancelledError` of its own.
    """
    with own_cancellation():
        if _is_async(function):
            return await function(*args, **kwargs)
        result = await run_in_threadpool(function, *args, **kwargs)
        return await result if inspect.isawaitable(result) else result


@contextlib.contextmanager
def own_cancellation() -> Iterator[None]:
    """Raise `FunctionCancelled` for a `CancelledError` in the body, if nobody cancels the task."""
    try:
        yield
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling() > 0:
            raise
        raise FunctionCancelled("what it waited for was cancelled") from error


def identity_of(found: Any) -> AppIdentity | None:
    """Return the user that `authenticate` has returned, None for nobody.

    `found` is None or an empty text (of an empty cookie), a user name, an `Identity`, or an object
    with a `username` and perhaps a `role`, `expires_at` and `issued_at` (Unix seconds) and a
    `token_id`. Raises `TypeError` for anything else.
    """
    if found is None or found == "":
        return None
    username: Any
    if isinstance(found, str):
        username, role, expires_at = found, DEFAULT_ROLE, None
    else:
        username = getattr(found, "username", None)
        role = getattr(found, "role", DEFAULT_ROLE)
        expires_at = getattr(found, "expires_at", None)
    if not (isinstance(username, str) and username and is_encodable(username)):
        raise TypeError(
            "authenticate must return None, a user name, or an object whose `username` is text;"
            f" it returned {type(found).__name__}"
        )
    if not isinstance(role, str):
        raise TypeError(f"authenticate returned a role that is no text: {type(role).__name__}")
    return AppIdentity(
        normal_username(username),
        role,
        _expiry(expires_at),
        issued_at=_issued_at(getattr(found, "issued_at", None)),
        token_id=_token_id(getattr(found, "token_id", None)),
        user=found,
    )


def _issued_at(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= NEVER:
        raise TypeError(f"authenticate returned issued_at {value!r}: expected Unix seconds")
    return value


def _token_id(value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise TypeError(f"authenticate returned a token_id that is no text: {type(value).__name__}")
    return value


def _expiry(value: Any) -> int:
    if value is None:
        return NEVER
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        raise TypeError(f"authenticate returned expires_at {value!r}: expected Unix seconds")
    return int(max(0, min(value, NEVER)))


def _is_async(function: AppFunction) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - an object with an async `__call__`
    )
