"""Directories in which a stranger could listen in the relay's place."""

import os
from pathlib import Path

import pytest

from relay.shared.socket_owner import own_uid, stranger_at

OWN = frozenset({own_uid()})
STRANGER = 54321


@pytest.fixture
def private(tmp_path: Path) -> Path:
    tmp_path.chmod(0o700)
    return tmp_path


def test_a_private_directory_is_safe_also_before_it_exists(private: Path) -> None:
    assert stranger_at(private / "relay.sock", OWN) == ""
    assert stranger_at(private / "run" / "deep" / "relay.sock", OWN) == ""


@pytest.mark.parametrize("mode", [0o770, 0o777, 0o1777])
def test_a_directory_that_others_may_write_to_is_not(private: Path, mode: int) -> None:
    """The sticky bit keeps what is there, and not a name that is free."""
    shared = private / "shared"
    shared.mkdir()
    shared.chmod(mode)
    assert stranger_at(shared / "relay.sock", OWN) == f"others may write to {shared}: chmod go-w"
    assert stranger_at(shared / "new" / "relay.sock", OWN) != ""


def test_a_directory_of_ones_own_in_a_sticky_one_is_safe(private: Path) -> None:
    shared = private / "shared"
    shared.mkdir()
    own = shared / "own"
    own.mkdir(0o700)
    shared.chmod(0o1777)
    assert stranger_at(own / "relay.sock", OWN) == ""
    shared.chmod(0o777)
    assert "others may write" in stranger_at(own / "relay.sock", OWN)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_the_owner_is_trusted_or_not(private: Path) -> None:
    theirs = private / "theirs"
    theirs.mkdir(0o755)
    os.chown(theirs, STRANGER, STRANGER)
    assert stranger_at(theirs / "relay.sock", OWN) == f"{theirs} belongs to user {STRANGER}"
    assert stranger_at(theirs / "relay.sock", OWN | {STRANGER}) == ""


def test_a_link_counts_as_the_directory_it_leads_to(private: Path) -> None:
    shared = private / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    link = private / "link"
    link.symlink_to(shared)
    assert "others may write" in stranger_at(link / "relay.sock", OWN)
