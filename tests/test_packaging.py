"""The wheel is complete: it contains the pages and the libraries that they load."""

import re
import tomllib
import zipfile
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

import pytest

from relay.shared import extras
from tests.support.processes import ROOT
from tests.support.wheel import build_wheel

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.mark.process
def test_the_wheel_contains_the_page_and_its_libraries(tmp_path: Path) -> None:
    with zipfile.ZipFile(build_wheel(tmp_path)) as archive:
        names = set(archive.namelist())
        [metadata] = [name for name in names if name.endswith("METADATA")]
        description = archive.read(metadata).decode().partition("\n\n")[2]
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
    assert {f"{package}/py.typed" for package in ("relay", "edge", "emitters")} < names
    assert {name.partition("/")[0] for name in names} == {
        "relay", "edge", "emitters", metadata.partition("/")[0],
    }  # fmt: skip
    assert_is_readable_without_our_files(description)


def assert_is_readable_without_our_files(description: str) -> None:
    """A page of a package index: no link or picture leads to a file of the repository."""
    targets = re.findall(r"\]\(([^)]*)\)", description)
    assert [target for target in targets if not target.startswith("https://")] == []
    assert "![" not in description
    readme = (ROOT / "README.md").read_text()
    for line in re.findall(r"^#+ .*$", readme, re.MULTILINE):
        assert line in description
    assert "the protocol is a handful" in " ".join(description.split())


def test_each_extra_is_found_by_its_modules() -> None:
    """A package that moves into an extra must be named when it is missing."""
    by_module = packages_distributions()
    for name, modules in extras.MODULES.items():
        required = {
            re.split(r"[<>=;]", requirement)[0]
            for requirement in PROJECT["optional-dependencies"][name]
        }
        # Where it cannot be had, uvicorn does without.
        required -= {"uvloop"}
        found = {
            distribution(by_module[module][0]).metadata["Name"].lower().replace("_", "-")
            for module in modules
        }
        assert found == required
