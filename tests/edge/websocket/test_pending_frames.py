"""Frames of several reads, in order, also those that are put back."""

from collections.abc import Iterator

import pytest

from edge.core.websocket.frames import Opcode
from edge.core.websocket.reader import Message
from edge.websocket.pending_frames import PendingFrames

FRAMES = [Message(Opcode.TEXT, b"%d" % number) for number in range(5)]


def test_reads_come_one_after_the_other_and_nothing_is_read_early() -> None:
    begun: list[int] = []

    def read(number: int, frames: list[Message | None]) -> Iterator[Message | None]:
        begun.append(number)
        yield from frames

    pending = PendingFrames()
    pending.add(read(0, [FRAMES[0], None]))
    pending.add(read(1, []))
    pending.add(read(2, [FRAMES[1]]))
    assert next(pending) == FRAMES[0]
    assert begun == [0]
    pending.put_back(FRAMES[0])
    assert [next(pending), next(pending)] == [FRAMES[0], None]
    pending.add(read(3, [FRAMES[2]]))
    assert list(pending) == [FRAMES[1], FRAMES[2]]
    assert begun == [0, 1, 2, 3]


def test_a_fault_of_a_read_is_raised_when_it_is_met() -> None:
    def broken() -> Iterator[Message | None]:
        yield FRAMES[0]
        raise ValueError("broken")

    pending = PendingFrames()
    pending.add(broken())
    assert next(pending) == FRAMES[0]
    with pytest.raises(ValueError, match="broken"):
        next(pending)
