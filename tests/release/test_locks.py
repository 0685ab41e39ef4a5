"""Every package that anything installs is locked with its hashes."""

from pathlib import Path

import pytest

from release.audit import python_locks
from release.locks import NPM_LOCK, ROOT, locked_by_npm, locked_in


def test_every_lock_is_hashed_as_a_whole() -> None:
    names = {path.name for path in python_locks()}
    assert names == {
        f"requirements{part}.lock" for part in ("", "-audit", "-bench", "-fuzz", "-node")
    }
    for path in python_locks():
        assert locked_in(path), path.name
    for lock in (NPM_LOCK, ROOT / "bench" / "package-lock.json"):
        assert locked_by_npm(lock), lock


@pytest.mark.parametrize(
    "entry",
    ["a==1.0", "a>=1.0 \\\n    --hash=sha256:" + "0" * 64, "-e ."],
)
def test_an_entry_without_version_or_hash_is_refused(tmp_path: Path, entry: str) -> None:
    lock = tmp_path / "some.lock"
    lock.write_text(f"b==1 \\\n    --hash=sha256:{'1' * 64}\n{entry}\n")
    with pytest.raises(ValueError, match=r"some\.lock"):
        locked_in(lock)


def test_an_npm_package_without_a_hash_is_refused(tmp_path: Path) -> None:
    lock = tmp_path / "package-lock.json"
    lock.write_text('{"packages": {"": {}, "node_modules/a": {"version": "1"}}}')
    with pytest.raises(ValueError, match="no hash of node_modules/a"):
        locked_by_npm(lock)
