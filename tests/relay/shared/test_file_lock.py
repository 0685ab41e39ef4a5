"""One process at a time; the lock goes with the file or with the process."""

from pathlib import Path

import pytest

from relay.shared.file_lock import PathInUse, is_locked, lock_beside
from tests.support.processes import ManagedProcess, python

HOLDER = """
import pathlib, signal, sys
from relay.shared.file_lock import lock_beside
held = lock_beside(pathlib.Path(sys.argv[1]))
print("held", flush=True)
signal.pause()
"""


def test_a_second_holder_is_refused_until_the_first_lets_go(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with lock_beside(path), pytest.raises(PathInUse, match="file"):
        lock_beside(path)
    with lock_beside(path, wait=True):
        assert not path.exists(), "the path itself is left alone"


@pytest.mark.process
def test_a_killed_process_lets_go(tmp_path: Path) -> None:
    path = tmp_path / "file"
    holder = ManagedProcess("holder", python("-c", HOLDER, str(path)), {})
    holder.start()
    try:
        holder.wait_for_output("held")
        with pytest.raises(PathInUse):
            lock_beside(path)
        holder.kill()
        with lock_beside(path, wait=True):
            pass
    finally:
        holder.close()


def test_a_lock_that_cannot_be_opened_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        lock_beside(tmp_path / "missing" / "file")


def test_a_look_at_the_lock_takes_and_makes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "file"
    assert is_locked(path) is False
    assert list(tmp_path.iterdir()) == []
    with lock_beside(path):
        assert is_locked(path) is True
    assert is_locked(path) is False
    lock_beside(path).close()
