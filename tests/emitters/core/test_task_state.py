"""States of a task: what its user gets, and what no progress or result can break."""

import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emitters.core.failure import MAX_MESSAGE_BYTES
from emitters.core.task_state import TaskState
from relay.wire.envelope import check_value

RUNNING = TaskState("7f3c", "alice")


def test_a_new_task_runs_and_has_no_progress() -> None:
    assert RUNNING.topic == "task:7f3c"
    assert not RUNNING.is_finished
    assert RUNNING.data() == {
        "status": "in_progress",
        "message": "Task is running.",
        "result": None,
        "username": "alice",
    }


@pytest.mark.parametrize(
    ("fraction", "progress"),
    [
        (0.5, 0.5),
        (-1, 0.0),
        (7, 1.0),
        (1 / 3, 0.3333),
        (math.inf, 1.0),
        (math.nan, None),
        (10**400, 1.0),
        (-(10**400), 0.0),
        (Fraction(1, 2), 0.5),
        (Decimal("0.25"), 0.25),
    ],
)
def test_progress_is_cut_to_its_range_and_ignored_if_it_is_no_number(
    fraction: Any, progress: float | None
) -> None:
    assert RUNNING.advanced(fraction, None).progress == progress


@pytest.mark.parametrize("fraction", ["50%", b"1", [1], 1j, Decimal("sNaN"), object])
def test_progress_that_is_no_number_is_refused_by_name(fraction: Any) -> None:
    with pytest.raises(TypeError, match="fraction must be a number, not "):
        RUNNING.advanced(fraction, None)


def test_none_keeps_the_present_progress_and_message() -> None:
    half = RUNNING.advanced(0.5, "Half way")
    assert half.advanced(None, None) == half
    assert half.data()["progress"] == 0.5
    assert half.data()["message"] == "Half way"


def test_success_completes_the_progress_if_there_is_one() -> None:
    assert "progress" not in RUNNING.succeeded(1).data()
    done = RUNNING.advanced(0.5, None).succeeded({"files": 3})
    assert done.is_finished
    assert done.data() == {
        "status": "success",
        "message": "Task completed successfully.",
        "result": {"files": 3},
        "username": "alice",
        "progress": 1.0,
    }


def test_a_failure_keeps_the_progress() -> None:
    failed = RUNNING.advanced(0.5, None).failed(OSError("disk full"), 7)
    assert failed.is_finished
    assert failed.data() == {
        "status": "error",
        "message": "disk full",
        "result": 7,
        "username": "alice",
        "progress": 0.5,
    }


values = st.one_of(st.none(), st.binary(), st.text(), st.floats(), st.lists(st.sets(st.integers())))


@given(values, st.text(max_size=2 * MAX_MESSAGE_BYTES))
def test_every_state_can_be_emitted(result: object, message: str) -> None:
    for state in (
        RUNNING.advanced(0.1, message),
        RUNNING.succeeded(result),
        RUNNING.failed(message, result),
    ):
        check_value(state.data(), "data")
        assert len(state.message.encode()) <= MAX_MESSAGE_BYTES + len("…".encode())
        assert state.size_bytes() == len(msgpack.packb(state.data()))
