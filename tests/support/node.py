"""Node, which runs the JavaScript tests."""

import os
import shutil
import sys
from pathlib import Path

import pytest


def find_node() -> str:
    """Return the path of Node, which `make` installs in the environment if the machine has none."""
    search = os.pathsep.join([os.environ.get("PATH", ""), str(Path(sys.executable).parent)])
    node = shutil.which("node", path=search)
    if node is None:
        pytest.fail("node is missing: run the tests with `make test`, which provides it")
    return node
