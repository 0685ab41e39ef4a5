"""Small files survive full disks, mounts, links and killed writers; with real file systems."""

import contextlib
import os
import resource
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edge.config import EdgeSettings
from edge.http.users import UsersError, UsersFile
from edge.private_files import backup_of, read_whole, write_private
from relay.shared.settings import SettingsError, load
from tests.support.forked import run_forked
from tests.support.processes import ROOT, python

pytestmark = pytest.mark.usefixtures("cheap_hashes")
may_mount = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")


@contextlib.contextmanager
def mounted(*arguments: str | Path) -> Iterator[Path]:
    """Mount something; the last argument is the place."""
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"mounting is not possible here: {done.stderr}")
    try:
        yield Path(arguments[-1])
    finally:
        subprocess.run(["umount", arguments[-1]], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "small"
    place.mkdir()
    with mounted("-t", "tmpfs", "-o", "size=32k", "tmpfs", place):
        yield place


@pytest.fixture
def alone(tmp_path: Path, cheap_hashes: None) -> Iterator[Path]:
    """A users file that is mounted by itself, as containers do."""
    outside, inside = tmp_path / "outside.json", tmp_path / "inside" / "users.json"
    UsersFile(outside).add("alice", "password")
    inside.parent.mkdir()
    inside.touch()
    with mounted("--bind", outside, inside):
        yield inside


def fill(disk: Path) -> Path:
    """Leave no room; return the file to remove for some."""
    filling = disk / "filling"
    with open(filling, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 512)
    return filling


def names_in(directory: Path) -> list[str]:
    return sorted(item.name for item in directory.iterdir())


def test_a_new_file_is_for_the_owner_alone(tmp_path: Path) -> None:
    write_private(tmp_path / "file", b"content")
    assert (tmp_path / "file").read_bytes() == b"content"
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600
    assert names_in(tmp_path) == ["file"]


@pytest.mark.parametrize(
    ("before", "after"), [(0o600, 0o600), (0o640, 0o640), (0o664, 0o660), (0o444, 0o440)]
)
def test_owner_group_and_their_permissions_stay(tmp_path: Path, before: int, after: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(before)
    if os.geteuid() == 0:
        os.chown(path, 12345, 54321)
    known = path.stat()
    write_private(path, b"new")
    assert path.stat().st_mode & 0o777 == after
    assert (path.stat().st_uid, path.stat().st_gid) == (known.st_uid, known.st_gid)


@pytest.mark.parametrize("exists", [True, False])
def test_a_symbolic_link_is_followed_and_stays(tmp_path: Path, exists: bool) -> None:
    target, link = tmp_path / "elsewhere" / "users", tmp_path / "users.json"
    target.parent.mkdir()
    if exists:
        UsersFile(target).add("bob", "password")
    link.symlink_to("elsewhere/users")
    UsersFile(link).add("alice", "password")
    assert link.is_symlink()
    assert set(UsersFile(target).list()) == ({"alice", "bob"} if exists else {"alice"})


@may_mount
def test_a_mounted_file_is_changed_in_place(alone: Path) -> None:
    users = UsersFile(alone)
    inode = alone.stat().st_ino
    users.add("bob", "password", "admin")
    users.remove("alice")
    assert set(users.list()) == {"bob"}
    assert alone.stat().st_ino == inode
    assert names_in(alone.parent) == ["users.json", "users.json.lock"]


@may_mount
@pytest.mark.process
def test_readers_of_a_mounted_file_find_the_old_users_or_the_new_ones(alone: Path) -> None:
    change = "import sys; from pathlib import Path; from edge.http.users import UsersFile\n"
    change += "users = UsersFile(Path(sys.argv[1]))\n"
    change += (
        "for number in range(6): users.add(f'user {number}' * (1 + number % 3 * 10), 'password')"
    )
    with ThreadPoolExecutor() as pool:
        writer = pool.submit(run_code, change, str(alone))
        reads = 0
        while not writer.done():
            assert "alice" in UsersFile(alone).list()
            reads += 1
        assert writer.result().returncode == 0
    assert reads > 0
    assert len(UsersFile(alone).list()) == 7


@may_mount
@pytest.mark.parametrize("torn", [b"", b'{"users": {"al', b'{"users": {}}\n}}}'])
def test_after_a_writer_was_killed_the_backup_counts(alone: Path, torn: bytes) -> None:
    backup_of(alone).write_bytes(alone.read_bytes())
    alone.write_bytes(torn)
    users = UsersFile(alone)
    assert users.verify("alice", "password") is not None
    users.add("bob", "password")
    assert not backup_of(alone).exists()
    assert set(users.list()) == {"alice", "bob"}
    assert read_whole(alone) == alone.read_bytes()


@may_mount
def test_a_full_disk_leaves_the_users_as_they_were(small_disk: Path) -> None:
    users = UsersFile(small_disk / "users.json")
    users.add("alice", "password")
    filling = fill(small_disk)
    with pytest.raises(UsersError, match=r"users\.json: No space left on device$"):
        users.add("bob", "password")
    assert set(users.list()) == {"alice"}
    assert names_in(small_disk) == ["filling", "users.json", "users.json.lock"]
    filling.unlink()
    users.add("bob", "password")
    assert set(users.list()) == {"alice", "bob"}


@may_mount
def test_a_full_disk_under_a_mounted_file_leaves_it_as_it_was(
    small_disk: Path, tmp_path: Path
) -> None:
    """Only a change in place is possible, and the longer content finds no room."""
    outside, inside = small_disk / "file", tmp_path / "inside" / "file"
    outside.write_bytes(b"known")
    inside.parent.mkdir()
    inside.touch()
    with mounted("--bind", outside, inside):
        fill(small_disk)
        with pytest.raises(OSError, match="No space left on device"):
            write_private(inside, b"x" * 20_000)
        assert outside.read_bytes() == b"known"
        assert names_in(inside.parent) == ["file"]


@may_mount
def test_a_full_disk_leaves_no_secret_that_stops_later_starts(small_disk: Path) -> None:
    settings = load(EdgeSettings, data_dir=small_disk)
    filling = fill(small_disk)
    with pytest.raises(SettingsError, match=r"^EDGE_DATA_DIR: .*No space left on device"):
        settings.secret()
    assert names_in(small_disk) == ["filling", "jwt-secret.lock"]
    filling.unlink()
    assert len(settings.secret()) >= 32
    assert settings.secret() == (small_disk / "jwt-secret").read_text()


SECRET = """
import resource, sys
from pathlib import Path
from edge.config import EdgeSettings
from relay.shared.settings import SettingsError, load
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    print(load(EdgeSettings, data_dir=Path(sys.argv[1])).secret())
except SettingsError as error:
    sys.exit(str(error))
"""


def run_code(code: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    return run_forked(python("-c", code, *arguments), env, b"", 40)


def secret_of(directory: Path, room: int) -> tuple[str, str]:
    ran = run_code(SECRET, str(directory), str(room))
    return ran.stdout, ran.stderr


@pytest.mark.process
def test_a_secret_that_finds_room_for_a_part_of_it_is_not_kept(tmp_path: Path) -> None:
    out, err = secret_of(tmp_path, 20)
    assert (out, err.count("\n"), "File too large" in err) == ("", 1, True)
    assert names_in(tmp_path) == ["jwt-secret.lock"]


@pytest.mark.process
@pytest.mark.parametrize("left", [None, b"", b"\n"])
def test_an_empty_secret_is_made_anew_once_for_all_processes(
    tmp_path: Path, left: bytes | None
) -> None:
    if left is not None:
        (tmp_path / "jwt-secret").write_bytes(left)
        (tmp_path / "jwt-secret").chmod(0o600)
    with ThreadPoolExecutor(4) as pool:
        starters = [pool.submit(secret_of, tmp_path, resource.RLIM_INFINITY) for _ in range(4)]
        answers = {starter.result() for starter in starters}
    assert answers == {((tmp_path / "jwt-secret").read_text() + "\n", "")}
    assert (tmp_path / "jwt-secret").stat().st_mode & 0o077 in (0, 0o040, 0o060)
