"""`@emits` tells what a function does and never gets in its way."""

import asyncio
import logging
from typing import Any

import pytest

from emitters.decorators import emits
from emitters.events import EventName
from tests.emitters.recording import RecordingEmitter


@pytest.fixture
def emitter() -> RecordingEmitter:
    return RecordingEmitter()


def told(emitter: RecordingEmitter) -> list[tuple[str, dict[str, Any]]]:
    return [(each.topic, each.data) for each in emitter.emitted]


def test_arguments_with_defaults_then_the_result(emitter: RecordingEmitter) -> None:
    @emits(before="before_backup", after="after_backup", emitter=emitter)
    def backup(server_name: str, *, keep: int = 3) -> dict[str, str]:
        assert len(emitter.emitted) == 1, "the before event comes before the call"
        return {"status": "success"}

    assert backup("survival") == {"status": "success"}
    arguments = {"server_name": "survival", "keep": 3}
    assert told(emitter) == [
        ("event:before_backup", arguments),
        ("event:after_backup", {**arguments, "result": {"status": "success"}}),
    ]
    assert backup.__name__ == "backup"


def test_variable_arguments(emitter: RecordingEmitter) -> None:
    @emits(before="x", emitter=lambda: emitter)
    def function(a: int, *rest: int, **more: int) -> None: ...

    function(1, 2, 3, b=4)
    assert told(emitter) == [("event:x", {"a": 1, "rest": [2, 3], "b": 4})]


def test_a_secret_is_told_only_if_its_name_is_given(emitter: RecordingEmitter) -> None:
    @emits(before="before_users_add", after="after_users_add", emitter=emitter)
    def add(name: str, password: str) -> None: ...

    @emits(before="x", emitter=emitter, exclude=["note"], include=["token"])
    def asked(note: str, token: str) -> None: ...

    add("alice", "hunter2")
    asked("private", "public after all")
    assert told(emitter) == [
        ("event:before_users_add", {"name": "alice"}),
        ("event:after_users_add", {"name": "alice", "result": None}),
        ("event:x", {"token": "public after all"}),
    ]


def test_an_exception_is_told_and_raised(emitter: RecordingEmitter) -> None:
    @emits(before="before_restore", after="after_restore", emitter=emitter)
    def restore(server_name: str) -> None:
        raise KeyError("no backup")

    with pytest.raises(KeyError, match="no backup"):
        restore("survival")
    assert emitter.emitted[1].data["result"] == {"status": "error", "message": "'no backup'"}


def test_an_exception_without_a_text_is_told_by_its_name(emitter: RecordingEmitter) -> None:
    @emits(after="x", emitter=emitter)
    def function() -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        function()
    assert emitter.emitted[0].data["result"]["message"] == "TimeoutError"


def test_async_functions(emitter: RecordingEmitter) -> None:
    @emits(before="before_world_export", after="after_world_export", emitter=emitter)
    async def export(server_name: str) -> str:
        await asyncio.sleep(0)
        assert len(emitter.emitted) == 1
        return "world.zip"

    @emits(after="after_world_reset", emitter=emitter)
    async def reset(server_name: str) -> None:
        await asyncio.Event().wait()

    async def cancel_reset() -> None:
        task = asyncio.create_task(reset("lobby"))
        await asyncio.sleep(0)
        task.cancel()
        await task

    assert asyncio.iscoroutinefunction(export)
    assert asyncio.run(export("survival")) == "world.zip"
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancel_reset())
    assert [each.data.get("result") for each in emitter.emitted] == [
        None,
        "world.zip",
        {"status": "error", "message": "CancelledError"},
    ]


class Manager:
    def __init__(self, emitter: RecordingEmitter) -> None:
        self.emitter = emitter

    @emits(before=EventName.BEFORE_SERVER_START, after=EventName.AFTER_SERVER_START)
    def start(self, server_name: str) -> int:
        return 42


def test_a_method_uses_the_emitter_of_its_object(emitter: RecordingEmitter) -> None:
    other = RecordingEmitter()
    assert Manager(emitter).start("survival") == 42
    assert Manager(other).start(server_name="lobby") == 42
    assert told(emitter)[1] == (
        "event:after_server_start",
        {"server_name": "survival", "result": 42},
    )
    assert told(other)[0] == ("event:before_server_start", {"server_name": "lobby"})


def test_class_and_static_methods(emitter: RecordingEmitter) -> None:
    class Tools:
        @classmethod
        @emits(before="x", emitter=emitter)
        def of_class(cls, a: int) -> type:
            return cls

        @staticmethod
        @emits(before="y", emitter=emitter)
        def of_none(a: int) -> int:
            return a

    assert Tools.of_class(1) is Tools
    assert Tools.of_none(2) == 2
    assert told(emitter) == [("event:x", {"a": 1}), ("event:y", {"a": 2})]


def test_what_cannot_be_carried_becomes_text_and_the_result_stays_itself(
    emitter: RecordingEmitter,
) -> None:
    @emits(before="x", after="y", emitter=emitter)
    def function(value: object) -> object:
        return value

    cycle: list[object] = [float("nan"), b"\xff", {1: object}]
    cycle.append(cycle)
    assert function(cycle) is cycle
    carried = ["nan", "\\xff", {"1": "<class 'object'>"}, "(contains itself)"]
    assert emitter.emitted[1].data == {"value": carried, "result": carried}


def test_arguments_are_told_as_they_were_at_the_call(emitter: RecordingEmitter) -> None:
    @emits(after="x", emitter=emitter)
    def function(names: list[str]) -> None:
        names.clear()

    function(["Alex"])
    assert emitter.emitted[0].data["names"] == ["Alex"]


def test_a_full_outbox_is_logged_once_and_harms_nothing(
    emitter: RecordingEmitter, caplog: pytest.LogCaptureFixture
) -> None:
    @emits(before="x", after="y", emitter=emitter)
    def function() -> str:
        return "done"

    emitter.full = True
    with caplog.at_level(logging.WARNING):
        assert [function() for _ in range(3)] == ["done"] * 3
    assert len(caplog.records) == 1
    assert "function" in caplog.text
    emitter.full = False
    function()
    emitter.full = True
    function()
    assert len(caplog.records) == 2, "a new row of failures is logged again"


def test_a_broken_emitter_harms_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> RecordingEmitter:
        raise RuntimeError("not configured")

    @emits(before="x", emitter=broken)
    def function() -> str:
        return "done"

    assert function() == "done"
    assert "not configured" in caplog.text


def test_a_wrong_call_is_the_callers_to_see(emitter: RecordingEmitter) -> None:
    @emits(before="x", emitter=emitter)
    def function(a: int) -> None: ...

    with pytest.raises(TypeError, match="missing 1 required positional argument: 'a'"):
        function()  # type: ignore[call-arg]
    assert emitter.emitted == []


def test_mistakes_show_when_decorating(emitter: RecordingEmitter) -> None:
    def function() -> None: ...

    def generator() -> Any:
        yield 1

    with pytest.raises(TypeError, match="needs emitter="):
        emits(before="x")(function)
    with pytest.raises(TypeError, match="return a result"):
        emits(before="x", emitter=emitter)(generator)
    with pytest.raises(ValueError, match="control characters"):
        emits(before="a\nb", emitter=emitter)
