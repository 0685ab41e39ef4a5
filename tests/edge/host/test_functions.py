"""`identity_of` and `call`: what the functions of an application may return."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from edge.core.identity.access import NEVER, Identity
from edge.host.functions import FunctionCancelled, call, identity_of


def user(**fields: Any) -> SimpleNamespace:
    return SimpleNamespace(**fields)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ("ann", Identity("ann", "user", NEVER)),
        ("e\u0301", Identity("\u00e9", "user", NEVER)),
        (user(username="ann"), Identity("ann", "user", NEVER)),
        (user(username="ann", role="shop", expires_at=1.9), Identity("ann", "shop", 1)),
        (user(username="ann", expires_at=float("inf")), Identity("ann", "user", NEVER)),
        (user(username="ann", expires_at=-5), Identity("ann", "user", 0)),
        (Identity("ann", "admin", 7), Identity("ann", "admin", 7)),
    ],
)
def test_a_user(found: Any, expected: Identity) -> None:
    identity = identity_of(found)
    assert identity is not None
    told = (identity.username, identity.role, identity.expires_at)
    assert told == (expected.username, expected.role, expected.expires_at)
    assert identity.user is found


@pytest.mark.parametrize("found", [None, ""])
def test_nobody(found: Any) -> None:
    assert identity_of(found) is None


@pytest.mark.parametrize(
    "found",
    [
        "\ud800",
        5,
        {"username": "ann"},
        user(name="ann"),
        user(username=None),
        user(username=""),
        user(username="ann", role=5),
        user(username="ann", expires_at="soon"),
        user(username="ann", expires_at=True),
        user(username="ann", expires_at=float("nan")),
    ],
)
def test_anything_else_is_a_fault_of_the_application(found: Any) -> None:
    with pytest.raises(TypeError, match="authenticate"):
        identity_of(found)


class Callable:
    """An object that is called like an async function."""

    async def __call__(self, value: int) -> int:
        return value + 1


async def plus_one(value: int) -> int:
    return value + 1


@pytest.mark.parametrize(
    "function", [lambda value: value + 1, plus_one, Callable(), lambda value: plus_one(value)]
)
def test_plain_and_async_functions_are_called(function: Any) -> None:
    assert asyncio.run(call(function, 1)) == 2


async def cancelled_feed() -> None:
    """A hook that ends something of its own."""
    feed = asyncio.ensure_future(asyncio.Event().wait())
    feed.cancel()
    await feed


def test_what_a_function_has_cancelled_is_no_cancellation_of_the_caller() -> None:
    async def scenario() -> None:
        with pytest.raises(FunctionCancelled):
            await call(cancelled_feed)
        with pytest.raises(FunctionCancelled):
            await call(lambda: cancelled_feed())

    asyncio.run(scenario())


def test_the_caller_may_be_cancelled() -> None:
    async def scenario() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await call(asyncio.Event().wait)
        calling = asyncio.ensure_future(call(asyncio.Event().wait))
        await asyncio.sleep(0)
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("name", "topic", "expected"),
    [
        ("a", "private:a:1", True),
        ("a", "private:a:*", True),
        ("a", "private:a:b:*", True),
        ("a", "private:a:", True),
        ("a", "private:a", False),
        ("a", "private:a*", False),
        ("a", "private:ab:1", False),
        ("a", "private:*", False),
        ("a", "*", False),
        ("a", "other:a:1", False),
        ("a", "private:A:1", False),
        ("a", "private:a\uff1a1", False),
        ("a", "presence:private:a:1", False),
        ("a", "no topic", False),
        ("a:b", "private:a:b:1", False),
        ("a:b", "private:a%3Ab:1", True),
        ("a:b", "private:a%3Ab:*", True),
        ("*", "private:*", False),
        ("*", "private:%2A:1", True),
        ("e\u0301", "private:\u00e9:1", True),
        ("\u00e9" * 200, "private:*", False),
    ],
)
def test_a_user_owns_topics_with_the_own_name(name: str, topic: str, expected: bool) -> None:
    identity = identity_of(name)
    assert identity is not None
    assert identity.owns(topic, "private:{username}:*") is expected


@pytest.mark.parametrize("own", ["private:*", "private", "{username}:*", "private:{username}*", ""])
def test_topics_of_ones_own_have_the_name_in_them(own: str) -> None:
    identity = identity_of("ann")
    assert identity is not None
    with pytest.raises(ValueError, match="username"):
        identity.owns("private:ann:1", own)
