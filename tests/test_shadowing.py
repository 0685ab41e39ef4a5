"""Another package named `relay` is named by its path, by the first import that finds it."""

import subprocess
from pathlib import Path

import pytest

from tests.support.processes import ROOT, python

pytestmark = pytest.mark.process


def run(directory: Path, statement: str) -> "subprocess.CompletedProcess[str]":
    """Run `statement` in `directory`, whose modules Python finds first."""
    return subprocess.run(
        python("-c", statement),
        cwd=directory,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("statement", ["import emitters", "from edge import Edge"])
@pytest.mark.parametrize("name", ["relay.py", "relay/__init__.py"])
def test_another_relay(tmp_path: Path, statement: str, name: str) -> None:
    other = tmp_path / name
    other.parent.mkdir(exist_ok=True)
    other.write_text("print('not ours')\n")
    ran = run(tmp_path, statement)
    assert ran.returncode == 1
    assert ran.stderr.splitlines()[-1] == (
        "ImportError: Event Relay needs its own package 'relay', but Python finds another one"
        f" first: {other}. Rename that, or look at sys.path"
    )


def test_another_emitters_for_an_application_with_an_edge(tmp_path: Path) -> None:
    other = tmp_path / "emitters.py"
    other.write_text("")
    ran = run(tmp_path, "from edge import Edge")
    assert ran.returncode == 1
    assert ran.stderr.splitlines()[-1] == (
        "ImportError: Event Relay needs its own package 'emitters', but Python finds another one"
        f" first: {other}. Rename that, or look at sys.path"
    )


def test_another_edge_does_not_disturb_emitters(tmp_path: Path) -> None:
    """It may be the application's own, which has no use for ours."""
    (tmp_path / "edge").mkdir()
    (tmp_path / "edge" / "__init__.py").write_text("")
    assert run(tmp_path, "import emitters").returncode == 0


def test_a_folder_that_is_no_package_does_not_disturb(tmp_path: Path) -> None:
    (tmp_path / "relay").mkdir()
    assert run(tmp_path, "import emitters\nfrom edge import Edge").returncode == 0
