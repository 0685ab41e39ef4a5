"""The latest state of each task, by user."""

import tracemalloc
from typing import Any

import orjson
import pytest

from edge.core.protocol import messages
from edge.core.streams import task_board
from edge.core.streams.task_board import (
    MAX_BYTES,
    MAX_FINISHED_PER_USER,
    MAX_TASKS,
    TaskBoard,
    TaskUpdate,
)
from edge.core.websocket.frames import frame_payload, text_frame
from relay.wire.envelope import Envelope
from relay.wire.header import Stamp
from relay.wire.topics import TASK, Topic


def update(
    board: TaskBoard,
    topic: str,
    offset: int,
    status: Any = "in_progress",
    username: str = "alice",
    epoch: int = 1,
) -> TaskUpdate | None:
    envelope = Envelope("task_update", {"status": status}, username, "m", 0, "id")
    stamp = Stamp(epoch, offset, 0)
    frame = messages.event(Topic(topic, TASK), stamp.offset, envelope)
    return board.update(topic, stamp, envelope, frame)


def messages_of(board: TaskBoard, username: str) -> list[dict[str, Any]]:
    return [orjson.loads(message) for message in board.tasks_of(username)]


def topics(board: TaskBoard, username: str) -> list[str]:
    return [message["topic"] for message in messages_of(board, username)]


def unfinished(board: TaskBoard) -> list[str]:
    frames = board.unfinished_of("alice")
    return [orjson.loads(frame_payload(frame))["topic"] for frame in frames]


def test_a_user_sees_their_own_tasks_newest_update_first() -> None:
    board = TaskBoard()
    update(board, "task:1", 1)
    update(board, "task:2", 2, "success")
    update(board, "task:3", 3, username="bob")
    update(board, "task:1", 4)
    assert topics(board, "alice") == ["task:1", "task:2"]
    assert topics(board, "bob") == ["task:3"]
    assert board.tasks_of("nobody") == []
    assert board.unfinished_of("nobody") == []


def test_unfinished_tasks_come_oldest_update_first() -> None:
    board = TaskBoard()
    for offset, topic in enumerate(["task:1", "task:2", "task:1", "task:3"], 1):
        update(board, topic, offset)
    assert unfinished(board) == ["task:2", "task:1", "task:3"]


@pytest.mark.parametrize("status", ["success", "error"])
def test_a_finished_task_is_remembered_but_not_unfinished(status: str) -> None:
    board = TaskBoard()
    update(board, "task:1", 1)
    state = update(board, "task:1", 2, status)
    assert state is not None
    assert state.finished
    assert board.unfinished_of("alice") == []
    assert messages_of(board, "alice")[0]["data"] == {"status": status}


@pytest.mark.parametrize("status", [None, "in_progress", "mine", 5])
def test_any_other_status_is_unfinished(status: Any) -> None:
    board = TaskBoard()
    update(board, "task:1", 1, status)
    assert unfinished(board) == ["task:1"]


@pytest.mark.parametrize("status", [["success"], {"success": True}])
def test_a_status_that_cannot_be_hashed_is_unfinished(status: Any) -> None:
    board = TaskBoard()
    update(board, "task:1", 1, status)
    assert unfinished(board) == ["task:1"]


def test_an_older_update_is_not_taken() -> None:
    board = TaskBoard()
    update(board, "task:1", 5, "success")
    assert update(board, "task:1", 4) is None
    assert messages_of(board, "alice")[0]["data"] == {"status": "success"}


def test_an_update_of_a_new_epoch_is_newer_whatever_its_offset() -> None:
    board = TaskBoard()
    update(board, "task:1", 5, epoch=1)
    assert update(board, "task:1", 1, "success", epoch=2) is not None
    assert update(board, "task:1", 6, epoch=1) is None


def test_the_same_update_again_is_no_news() -> None:
    """The relay's retained states repeat what an edge has forwarded already."""
    board = TaskBoard()
    update(board, "task:1", 5, "success")
    assert update(board, "task:1", 5, "success") is None


def test_an_older_update_does_not_change_the_order() -> None:
    board = TaskBoard()
    update(board, "task:1", 5)
    update(board, "task:2", 6)
    update(board, "task:1", 4)
    assert topics(board, "alice") == ["task:2", "task:1"]


def test_finished_tasks_are_bounded_and_the_oldest_goes_first() -> None:
    board = TaskBoard()
    update(board, "task:running", 1)
    for offset in range(2, MAX_FINISHED_PER_USER + 3):
        update(board, f"task:{offset}", offset, "success")
    remembered = topics(board, "alice")
    assert len(remembered) == MAX_FINISHED_PER_USER + 1
    assert "task:2" not in remembered
    assert "task:running" in remembered
    update(board, "task:other", 999, "success", username="bob")
    assert len(board.tasks_of("alice")) == len(remembered)


def test_a_finished_task_that_is_updated_once_more_is_not_the_oldest() -> None:
    board = TaskBoard()
    for offset in range(1, MAX_FINISHED_PER_USER + 1):
        update(board, f"task:{offset}", offset, "success")
    update(board, "task:1", 100, "success")
    update(board, "task:last", 101, "success")
    assert topics(board, "alice")[:2] == ["task:last", "task:1"]
    assert "task:2" not in topics(board, "alice")
    assert update(board, "task:2", 2, "success") is not None, "it is not known any more"


def test_tasks_that_are_forgotten_leave_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_board, "MAX_TASKS", 100)
    board = TaskBoard()
    tracemalloc.start()
    try:
        for offset in range(1, 4_000):
            username = f"user-{offset}" if offset % 2 else "alice"
            update(board, f"task:{offset}", offset, "success", username=username)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 100 * 2_000, "about a hundred tasks of some hundred bytes"


def test_in_a_new_epoch_whatever_is_of_another_one_is_older() -> None:
    """Also when the relay's clock, which makes epochs, went back."""
    board = TaskBoard()
    board.begin_epoch(9)
    update(board, "task:1", 50, epoch=9)
    board.begin_epoch(3)
    assert update(board, "task:1", 1, "success", epoch=3) is not None
    assert update(board, "task:1", 60, epoch=9) is None
    assert messages_of(board, "alice")[0]["data"] == {"status": "success"}


def test_all_tasks_together_are_bounded() -> None:
    board = TaskBoard()
    for offset in range(1, MAX_TASKS + 2):
        update(board, f"task:{offset}", offset, username=f"user-{offset}")
    assert board.tasks_of("user-1") == []
    assert len(board.tasks_of("user-2")) == 1


def test_all_tasks_together_are_bounded_in_bytes() -> None:
    board = TaskBoard()
    frame = text_frame(bytes(1024 * 1024 - 10))
    envelope = Envelope("task_update", {}, "alice", "m", 0, "id")
    for offset in range(1, 100):
        board.update(f"task:{offset}", Stamp(1, offset, 0), envelope, frame)
    remembered = board.unfinished_of("alice")
    assert sum(map(len, remembered)) <= MAX_BYTES + 100 * len(remembered)
    assert len(remembered) == MAX_BYTES // len(frame)
