"""`PeerChanges`: which changes of the list of peers count while the relay runs."""

import logging
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from relay.peer_changes import PeerChanges
from relay.shared.watched_config import WatchedConfig
from relay.wire.peers import ListedPeer, PeerRole
from tests.support.waiting import wait_for

ONE = ListedPeer("one", PeerRole.TOOL, uid=1)
TABLE = '[peers.{}]\nrole = "tool"\nuid = {}\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "relay.toml"


@pytest.fixture
def changes(file: Path) -> Iterator[PeerChanges]:
    with closing(PeerChanges([ONE], WatchedConfig(file))) as changes:
        yield changes


def test_another_list_is_told_once(file: Path, changes: PeerChanges) -> None:
    file.write_text(TABLE.format("two", 2))
    found = wait_for(changes.look, "the list is read")
    assert found == (ListedPeer("two", PeerRole.TOOL, uid=2),)
    assert changes.look() is None


def test_the_same_list_is_no_change(
    file: Path, changes: PeerChanges, caplog: pytest.LogCaptureFixture
) -> None:
    file.write_text(f"# as before\n{TABLE.format('one', 1)}")
    assert [changes.look() for _ in range(3)] == [None] * 3
    file.write_text(TABLE.format("three", 3))
    found = wait_for(changes.look, "the list is read")
    assert found == (ListedPeer("three", PeerRole.TOOL, uid=3),)
    assert "error" not in caplog.text.lower()


def test_a_list_without_peers_is_refused(
    file: Path, changes: PeerChanges, caplog: pytest.LogCaptureFixture
) -> None:
    file.write_text("[kinds.room]")

    def is_told() -> bool:
        assert changes.look() is None
        return bool(caplog.records)

    wait_for(is_told, "it is logged")
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage() == (
        f"{file} lists no peers any more: those before stay, until a start"
    )


def test_an_open_relay_stays_open_until_its_next_start(file: Path) -> None:
    file.write_text(TABLE.format("one", 1))
    with closing(PeerChanges([], WatchedConfig(file))) as changes:
        assert [changes.look() for _ in range(5)] == [None] * 5
