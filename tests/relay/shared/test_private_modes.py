"""Modes of private files and directories, with real files, whatever the umask."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay.shared.private_modes import (
    create_private,
    lax_mode,
    make_private_directory,
    tighten,
)


@pytest.fixture(params=[0o000, 0o022, 0o277])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.usefixtures("umask")
def test_what_is_made_is_for_the_owner_alone(tmp_path: Path) -> None:
    directory = tmp_path / "deep" / "data"
    make_private_directory(directory)
    create_private(directory / "file")
    assert mode(directory / "file") == 0o600
    assert [mode(each) for each in (directory, directory.parent)] == [0o700, 0o700]


def test_a_directory_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o755)
    make_private_directory(shared)
    make_private_directory(shared / "data")
    assert (mode(shared), mode(shared / "data")) == (0o755, 0o700)


def test_a_file_in_place_of_a_directory_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for below in (".", "data"):
        with pytest.raises((FileExistsError, NotADirectoryError)):
            make_private_directory(tmp_path / "file" / below)


def test_a_file_that_is_there_is_not_made_again(tmp_path: Path) -> None:
    create_private(tmp_path / "file")
    with pytest.raises(FileExistsError):
        create_private(tmp_path / "file")


def test_tightening_takes_the_rights_of_others_and_names_what_had_some(tmp_path: Path) -> None:
    modes = {"a": 0o644, "b": 0o600, "c": 0o460}
    for name, before in modes.items():
        (tmp_path / name).touch()
        (tmp_path / name).chmod(before)
    paths = [tmp_path / name for name in (*modes, "missing")]
    assert tighten(paths) == ["a (644)", "c (460)"]
    assert [mode(tmp_path / name) for name in modes] == [0o600, 0o600, 0o400]
    assert tighten(paths) == []


@pytest.mark.parametrize(
    ("mode", "owner", "is_lax"),
    [
        (0o600, 0, False),
        (0o400, 1000, False),
        (0o640, 0, False),
        (0o440, 0, False),
        (0o640, 1000, True),
        (0o660, 0, True),
        (0o644, 0, True),
        (0o604, 1000, True),
        (0o601, 0, True),
        (0o620, 1000, True),
    ],
)
def test_others_may_not_use_a_secret_but_for_a_group_to_which_root_gives_it(
    tmp_path: Path, mode: int, owner: int, is_lax: bool
) -> None:
    path = tmp_path / "secret"
    path.touch()
    if path.stat().st_uid != owner:
        if os.geteuid() != 0:
            pytest.skip("only root may give a file away")
        os.chown(path, owner, 1000)
    path.chmod(mode)
    advice = f"other users may use it (its mode is {mode:03o}): chmod 600 {path}"
    assert lax_mode(path) == (advice if is_lax else None)


def test_a_link_is_followed_and_a_missing_file_is_not_lax(tmp_path: Path) -> None:
    secret, link = tmp_path / "secret", tmp_path / "link"
    link.symlink_to(secret)
    assert lax_mode(link) is None
    secret.touch()
    secret.chmod(0o644)
    assert lax_mode(link) is not None
