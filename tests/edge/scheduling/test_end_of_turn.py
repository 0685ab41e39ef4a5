"""`EndOfTurnWrites` on a real loop."""

import asyncio

import pytest

from edge.scheduling.end_of_turn import EndOfTurnWrites


def test_writers_are_called_once_at_the_end_of_the_turn_in_order() -> None:
    async def turns() -> None:
        calls: list[str] = []
        writes = EndOfTurnWrites(asyncio.get_running_loop())
        for name in ("first", "second"):
            writes.add(lambda name=name: calls.append(name))  # type: ignore[misc]
        assert calls == []
        await asyncio.sleep(0)
        assert calls == ["first", "second"]
        await asyncio.sleep(0)
        assert calls == ["first", "second"]

    asyncio.run(turns())


def test_a_writer_that_is_added_by_another_is_called_in_the_next_turn() -> None:
    async def turns() -> None:
        calls: list[str] = []
        writes = EndOfTurnWrites(asyncio.get_running_loop())
        writes.add(lambda: writes.add(lambda: calls.append("next")))
        await asyncio.sleep(0)
        assert calls == []
        await asyncio.sleep(0)
        assert calls == ["next"]

    asyncio.run(turns())


def test_a_writer_that_fails_is_logged_and_does_not_stop_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail() -> None:
        raise RuntimeError("a fault of ours")

    async def turns() -> list[str]:
        calls: list[str] = []
        writes = EndOfTurnWrites(asyncio.get_running_loop())
        writes.add(fail)
        writes.add(lambda: calls.append("second"))
        await asyncio.sleep(0)
        return calls

    assert asyncio.run(turns()) == ["second"]
    assert "frames could not be written" in caplog.text
