"""A package of a name is ours if it says so; `tests/test_shadowing.py` has the rest."""

import sys
from pathlib import Path

import pytest

from relay.shared.own_packages import require_own


@pytest.mark.parametrize("name", ["relay", "emitters"])
def test_our_own(name: str) -> None:
    require_own(name)


def test_a_folder_without_modules_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "not_ours").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "not_ours", raising=False)
    with pytest.raises(ImportError, match="another one first") as raised:
        require_own("not_ours")
    assert str(tmp_path / "not_ours") in str(raised.value)
