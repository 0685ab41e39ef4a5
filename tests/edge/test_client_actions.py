"""`ClientActions`: how many requests may wait, and the reply to each of them."""

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast

import msgpack
import pytest

from edge import client_actions as module
from edge.client_actions import ClientActions
from edge.core.hub.audience import Connection
from edge.core.hub.connections import ConnectionManager
from edge.core.protocol.requests import MethodCall, Publish
from edge.upstream.calls import MethodCalls
from relay.wire.topics import Topic
from tests.edge.recorders import RecordingConnection, RecordingObserver


class Stage:
    """The manager processes answer when a test lets them; the application answers `own`."""

    def __init__(self, own: Callable[[], Awaitable[Any]] | None = None) -> None:
        self.manager = ConnectionManager(RecordingObserver())
        self.release = asyncio.Event()
        calls = cast(MethodCalls, SimpleNamespace(call=self._answer))
        self._own = own
        self.answer: Any = "m"
        """Of the manager processes."""
        self.actions = ClientActions(self.manager, calls, self._emit, None if own is None else self)

    def connect(self, username: str = "alice") -> RecordingConnection:
        connection = RecordingConnection(username)
        self.manager.connect(connection)
        return connection

    def ask(self, connection: Connection, number: int, method: str = "m") -> None:
        self.actions.call(connection, MethodCall(method, None, 60.0, number))

    async def end(self) -> None:
        """All that waits has been answered."""
        self.release.set()
        await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}))

    async def _answer(self, *_: object) -> Any:
        await self.release.wait()
        return self.answer

    async def _emit(self, request: Publish) -> str:
        raise NotImplementedError

    # As the application.

    def takes(self, topic: Topic) -> bool:
        return False

    def answers(self, method: str) -> bool:
        return method == "own"

    async def publish(self, connection: Connection, request: Publish) -> Any:
        raise NotImplementedError

    async def call(self, connection: Connection, request: MethodCall) -> Any:
        assert self._own is not None
        return await self._own()


def test_one_user_cannot_take_the_places_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PENDING_PER_USER", 3)

    async def test() -> None:
        stage = Stage()
        for number in range(3):
            tab = stage.connect()
            stage.ask(tab, number)
            # Its request goes on, and the manager may be busy with it.
            stage.manager.disconnect(tab)
        alice, bob = stage.connect(), stage.connect("bob")
        stage.ask(alice, 3)
        stage.ask(bob, 4)
        [refused] = alice.take()
        assert (refused["code"], refused["id"]) == ("too_many_requests", 3)
        assert refused["message"] == "3 requests of this user wait for an answer already."
        await stage.end()
        assert [each["result"] for each in bob.take()] == ["m"]
        stage.ask(alice, 5)
        await stage.end()
        assert [each["id"] for each in alice.take()] == [5]

    asyncio.run(test())


@pytest.mark.parametrize(
    "answer", [b"bytes", {"deep": b""}, {b"key": 1}, msgpack.ExtType(5, b"x"), msgpack.Timestamp(1)]
)
def test_an_answer_that_json_cannot_carry_is_an_error_without_a_traceback(
    answer: object, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        stage = Stage()
        stage.answer = answer
        alice = stage.connect()
        stage.ask(alice, 1)
        await stage.end()
        [reply] = alice.take()
        assert (reply["code"], reply["message"]) == ("failed", "the answer cannot be read")
        assert "the answer to 'm' is not carried by JSON" in caplog.text
        assert "Traceback" not in caplog.text

    asyncio.run(test())


async def _times_out() -> None:
    raise TimeoutError("of a database")


def test_the_timeout_of_a_function_is_not_that_of_the_request(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def test() -> None:
        stage = Stage(_times_out)
        alice = stage.connect()
        stage.ask(alice, 1, "own")
        await stage.end()
        [reply] = alice.take()
        assert (reply["code"], reply["message"]) == ("failed", "internal error")
        assert "of a database" in caplog.text

    asyncio.run(test())
