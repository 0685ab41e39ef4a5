"""`EmbeddedRelay`: trouble with its lock or its start is told, and does not end it."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from edge.host import embedded_relay
from edge.host.embedded_relay import EmbeddedRelay
from relay.shared.settings import SettingsError

NOBODY = "tcp://127.0.0.1:9"


def test_a_directory_in_which_nothing_can_be_locked_is_refused(tmp_path: Path) -> None:
    (tmp_path / "embedded.lock").mkdir()

    async def scenario() -> None:
        async with EmbeddedRelay(NOBODY, NOBODY, tmp_path).running():
            raise AssertionError("it runs without its lock")

    with pytest.raises(SettingsError, match="RELAY_DATA_DIR"):
        asyncio.run(scenario())


def test_a_relay_that_cannot_be_started_now_is_started_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Descriptors, processes and memory may be short for a while."""
    monkeypatch.setattr(embedded_relay, "RETRY_S", 0.0)
    has_started = asyncio.Event()
    troubles = [OSError(24, "Too many open files"), BlockingIOError(11, "no process")]

    async def start(*_: Any, **__: Any) -> Any:
        if troubles:
            raise troubles.pop()
        has_started.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio, "create_subprocess_exec", start)

    async def scenario() -> None:
        async with EmbeddedRelay(NOBODY, NOBODY, tmp_path).running():
            await asyncio.wait_for(has_started.wait(), 20)

    asyncio.run(scenario())
    assert "cannot be started: [Errno 24] Too many open files" in caplog.text
    assert "cannot be started: [Errno 11] no process" in caplog.text
