"""Runs the JavaScript tests under tests/js."""

import subprocess

import pytest

from tests.support.node import find_node
from tests.support.processes import ROOT


@pytest.mark.process
def test_javascript() -> None:
    tests = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "tests/js").glob("*.test.js"))
    assert tests
    command = [find_node(), "--test", *tests]
    ran = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
