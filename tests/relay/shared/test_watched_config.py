"""`WatchedConfig`: when `relay.toml` is read again."""

import asyncio
import logging
from pathlib import Path

import pytest

from relay.shared.watched_config import WatchedConfig

GOOD = "[kinds.room]\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "relay.toml"


def kinds(watched: WatchedConfig) -> set[str] | None:
    found = asyncio.run(watched.look())
    return None if found is None else set(found.kinds.names) - {"event", "task", "addressed"}


def test_it_is_read_when_it_was_the_same_at_two_looks(path: Path) -> None:
    watched = WatchedConfig(path)
    path.write_text(GOOD)
    assert kinds(watched) is None, "it may be written to just now"
    assert kinds(watched) == {"resource-monitor", "room"}
    assert kinds(watched) is None
    path.write_text("")
    assert kinds(watched) is None
    path.write_text("[kinds.hall]\n[kinds.lobby]\n")
    assert kinds(watched) is None
    assert kinds(watched) == {"resource-monitor", "hall", "lobby"}


def test_a_file_that_was_put_in_its_place_is_another_one(path: Path, tmp_path: Path) -> None:
    watched = WatchedConfig(path)
    path.write_text(GOOD)
    assert [kinds(watched), kinds(watched)] == [None, {"resource-monitor", "room"}]
    other = tmp_path / "other"
    other.write_text("[kinds.door]\n")
    other.replace(path)
    assert [kinds(watched), kinds(watched)] == [None, {"resource-monitor", "door"}]


@pytest.mark.parametrize("content", ["?", "[kinds.Room]", "[kinds.room]\nsubscribe = ['U']"])
def test_a_broken_file_is_logged_once(
    path: Path, caplog: pytest.LogCaptureFixture, content: str
) -> None:
    watched = WatchedConfig(path)
    path.write_text(content)
    assert [kinds(watched) for _ in range(4)] == [None] * 4
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage().startswith(f"what it said before stays in force: {path}: ")
    path.write_text(GOOD)
    assert [kinds(watched), kinds(watched)] == [None, {"resource-monitor", "room"}]


def test_a_file_that_is_gone_is_logged_once_and_may_come_back(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    watched = WatchedConfig(path)
    assert [kinds(watched) for _ in range(3)] == [None] * 3
    assert caplog.records == [], "there never was one"
    path.write_text(GOOD)
    assert [kinds(watched), kinds(watched)] == [None, {"resource-monitor", "room"}]
    path.unlink()
    assert [kinds(watched) for _ in range(3)] == [None] * 3
    [record] = caplog.records
    assert record.getMessage() == f"{path} is gone; what it said before stays in force"
    path.write_text(GOOD)
    assert [kinds(watched), kinds(watched)] == [None, {"resource-monitor", "room"}]
