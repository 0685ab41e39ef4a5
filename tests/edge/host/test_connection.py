"""`ClientConnection`: what an application does with a client, from whatever thread."""

import asyncio
import json
import threading
from typing import Any

import pytest

from edge.core.websocket.close_codes import Close
from edge.core.websocket.frames import frame_payload
from edge.host.connection import ClientConnection


class Stage:
    """The manager and the client, which say in which thread they were called."""

    def __init__(self) -> None:
        self.done: list[tuple[Any, bool]] = []
        self._thread = threading.get_ident()

    def send_to_client(self, client: object, frame: bytes) -> None:
        """As the manager."""
        self._note(json.loads(frame_payload(frame)))

    def close(self, close: Close) -> None:
        """As the client."""
        self._note(close.code)

    def _note(self, what: object) -> None:
        self.done.append((what, threading.get_ident() == self._thread))


def test_what_other_threads_say_is_sent_in_that_of_the_loop() -> None:
    """A plain hook runs in a thread, and nothing of the edge is safe there."""

    async def scenario() -> None:
        stage: Any = Stage()
        connection = ClientConnection(stage, stage)

        def hook() -> None:
            for number in range(3):
                connection.send(number)
            connection.close(4100, "bye")

        await asyncio.to_thread(hook)
        assert stage.done == [(0, True), (1, True), (2, True), (4100, True)]

    asyncio.run(scenario())


def test_in_the_thread_of_the_loop_it_is_sent_at_once() -> None:
    async def scenario() -> None:
        stage: Any = Stage()
        ClientConnection(stage, stage).send({"a": 1})
        assert stage.done == [({"a": 1}, True)]

    asyncio.run(scenario())


def test_wrong_values_are_refused_where_they_are_given() -> None:
    async def scenario() -> None:
        stage: Any = Stage()
        connection = ClientConnection(stage, stage)
        with pytest.raises(TypeError):
            await asyncio.to_thread(connection.send, object())
        with pytest.raises(ValueError, match="4000 to 4999"):
            await asyncio.to_thread(connection.close, 1000)

    asyncio.run(scenario())


def test_after_the_end_of_the_loop_it_goes_nowhere() -> None:
    stage: Any = Stage()

    async def build() -> ClientConnection:
        return ClientConnection(stage, stage)

    connection = asyncio.run(build())
    thread = threading.Thread(target=connection.send, args=[1])
    thread.start()
    thread.join()
    assert stage.done == []
