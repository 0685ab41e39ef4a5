"""The bill of materials of this checkout."""

import json
import tomllib
from collections.abc import Mapping
from typing import Any

import pytest
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from release.locks import ROOT, locked_by_npm, locked_in
from release.sbom import bill_of_materials, needed_by

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def written() -> str:
    return JsonV1Dot6(bill_of_materials()).output_as_string()


@pytest.fixture(scope="module")
def components() -> Mapping[str, dict[str, Any]]:
    return {each["bom-ref"]: each for each in json.loads(written())["components"]}


def test_it_lists_each_locked_package_with_its_hashes(
    components: Mapping[str, dict[str, Any]],
) -> None:
    locked = {f"pypi:{each.name}@{each.version}": each for each in locked_in()}
    locked |= {f"npm:{each.name}@{each.version}": each for each in locked_by_npm()}
    assert components.keys() == locked.keys()
    for ref, each in locked.items():
        hashes = {each["content"] for each in components[ref]["hashes"]}
        assert hashes == set(each.hashes)


def test_the_scope_says_who_needs_a_package(components: Mapping[str, dict[str, Any]]) -> None:
    scopes = {
        f"{ref.partition(':')[0]}:{each['name']}": each["scope"] for ref, each in components.items()
    }
    for name, scope in (
        ("pypi:pyzmq", "required"),
        ("pypi:pydantic-core", "required"),
        ("npm:uplot", "required"),
        ("npm:swagger-ui-dist", "required"),
        ("pypi:starlette", "optional"),
        ("pypi:pynacl", "optional"),
        ("pypi:mypy", "excluded"),
        ("npm:typescript", "excluded"),
    ):
        assert scopes[name] == scope, name


def test_it_describes_this_version_and_depends_on_the_lock_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1790000000")
    first = written()
    assert written() == first
    # By the schema of CycloneDX; nbclient brings the packages that read it.
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(first) is None
    described = json.loads(first)
    about = described["metadata"]
    assert about["component"]["version"] == PROJECT["version"]
    assert about["timestamp"] == "2026-09-21T14:13:20+00:00"
    needs = {each["ref"]: each.get("dependsOn", []) for each in described["dependencies"]}
    assert any(ref.startswith("pypi:pyzmq@") for ref in needs["event-relay"])
    assert not any(ref.startswith("pypi:mypy@") for ref in needs["event-relay"])


def test_extras_are_followed() -> None:
    assert "psutil" not in needed_by(["event-relay"])
    assert "psutil" in needed_by(["event-relay[resources]"])
    assert {"starlette", "pydantic"} <= needed_by(["event-relay[all]"])
