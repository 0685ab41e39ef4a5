"""The wheel is complete: it contains the pages and the libraries that they load."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.processes import ROOT


@pytest.mark.process
def test_the_wheel_contains_the_page_and_its_libraries(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=100,
    )
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        [entry_points] = [name for name in names if name.endswith("entry_points.txt")]
        commands = archive.read(entry_points).decode()
    for needed in (
        "dashboard.html",
        "relay-client.js",
        "relay-client.d.ts",
        "relay-client-calls.js",
        "relay-client-tabs.js",
        "relay-client-worker.js",
        "vendor/uPlot.esm.js",
        "vendor/uPlot.LICENSE",
        "vendor/swagger-ui-bundle.js",
        "vendor/swagger-ui.LICENSE",
    ):
        assert f"edge/static/{needed}" in names
    for command in ("event-relay", "event-edge", "event-emit"):
        assert command in commands
    assert not any(name.startswith(("tests/", "bench/", "demo/")) for name in names)
