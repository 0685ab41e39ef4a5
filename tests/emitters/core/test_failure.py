"""Each exception has a message for the user of the task that it ended."""

from asyncio import CancelledError
from typing import Any

import pytest

from emitters.core.failure import MAX_MESSAGE_BYTES, TaskFailed, failure_of


class WithoutConstructor(TaskFailed):
    def __init__(self, code: int) -> None:
        self.code = code


class OddResult(TaskFailed):
    @property
    def result(self) -> Any:
        raise RuntimeError("no")

    @result.setter
    def result(self, _value: object) -> None: ...


class OddText(Exception):  # noqa: N818
    """Its text is the outcome of `act`."""

    def __init__(self, act: Any) -> None:
        self._act = act

    def __str__(self) -> str:
        return self._act()  # type: ignore[no-any-return]

    __repr__ = __str__


class OddAttributes(Exception):  # noqa: N818
    """Says nothing of itself."""

    def _refuse(self, *_: object) -> Any:
        raise RuntimeError("no")

    args = property(_refuse, _refuse)
    __class__ = property(_refuse)
    __traceback__ = property(_refuse, _refuse)
    __cause__ = property(_refuse, _refuse)
    __context__ = property(_refuse, _refuse)


class OddGroup(ExceptionGroup[Exception]):
    @property
    def exceptions(self) -> Any:
        return (self,)


def fails() -> Any:
    raise RuntimeError("no")


def recurses() -> Any:
    return recurses()


@pytest.mark.parametrize(
    ("error", "message", "result"),
    [
        (ValueError("disk full"), "disk full", None),
        (ValueError(), "ValueError", None),
        (ValueError("a", 1), "('a', 1)", None),
        (KeyError("name"), "'name'", None),
        (TaskFailed("exit code 3", {"exit_code": 3}), "exit code 3", {"exit_code": 3}),
        (WithoutConstructor(3), "3", None),
        (OddResult("broken"), "broken", None),
        (SystemExit(3), "SystemExit: 3", None),
        (SystemExit(), "SystemExit", None),
        (KeyboardInterrupt(), "KeyboardInterrupt", None),
        (GeneratorExit(), "GeneratorExit", None),
        (CancelledError("late"), "CancelledError: late", None),
        (RecursionError("too deep"), "too deep", None),
        (MemoryError(), "MemoryError", None),
        (ExceptionGroup("all", [TaskFailed("exit code 3", 3)]), "exit code 3", 3),
        (
            ExceptionGroup("copies", [ValueError("a"), OSError("b")]),
            "copies (2 sub-exceptions): a; b",
            None,
        ),
        (OddText(fails), "(OddText without a readable text)", None),
        (OddText(lambda: None), "(OddText without a readable text)", None),
        (OddText(recurses), "(OddText without a readable text)", None),
        (OddAttributes("broken"), "('broken',)", None),
        (ValueError(OddText(fails)), "(ValueError without a readable text)", None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_message_and_result(error: BaseException, message: str, result: object) -> None:
    failure = failure_of(error)
    if type(error) is OddAttributes:
        assert failure.message
    else:
        assert failure == (message, result)


def test_a_subclass_without_the_constructor_has_a_result_too() -> None:
    assert WithoutConstructor(3).result is None


def test_the_result_that_a_task_gave_is_told_from_any_depth() -> None:
    error = TaskFailed("exit code 3", {"exit_code": 3})
    assert error.result == {"exit_code": 3}
    group = ExceptionGroup("outer", [ExceptionGroup("inner", [error])])
    assert failure_of(group) == ("exit code 3", {"exit_code": 3})


def test_a_group_that_contains_itself_ends() -> None:
    assert failure_of(OddGroup("x", [ValueError("y")])).message


@pytest.mark.parametrize("text", ["x" * 10**6, "é" * 10**5])
def test_a_long_message_is_cut(text: str) -> None:
    several = ExceptionGroup("many", [ValueError(text)] * 50)
    for error in (ValueError(text), TaskFailed(text), several, OddText(lambda: text)):
        message = failure_of(error).message
        assert len(message.encode()) <= MAX_MESSAGE_BYTES + len("…".encode())
        assert message.endswith("…")


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_the_end_of_the_process_is_not_swallowed(stop: type[BaseException]) -> None:
    def act() -> Any:
        raise stop

    with pytest.raises(stop):
        failure_of(OddText(act))
