"""`make sbom`: the bill of materials of a release (CycloneDX), from the lock files.

    python -m release.sbom FILE

A package is `required` if the wheel contains it or every installation brings it, `optional` if an
extra does, `excluded` if development alone needs it. The same lock files give the same bytes.
"""

import os
import re
import sys
import tomllib
from collections.abc import Iterable
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any
from uuid import UUID

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from release.locks import NPM_LOCK, PYTHON_LOCK, ROOT, Locked, locked_by_npm, locked_in

EXTRA = re.compile(r"""extra == ["']([\w-]+)["']""")
NO_TIME = 315_532_800
"""1980, the first time of a ZIP archive."""


def main(path: Path) -> None:
    """Write the bill of materials to `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(JsonV1Dot6(bill_of_materials()).output_as_string(indent=2) + "\n", "utf-8")


def bill_of_materials() -> Bom:
    """Return the bill of materials of this checkout."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    us = Component(
        name=project["name"],
        version=project["version"],
        type=ComponentType.APPLICATION,
        licenses=[LicenseFactory().make_from_string(project["license"])],
        purl=PackageURL("pypi", None, project["name"], project["version"]),
        bom_ref="event-relay",
    )
    locks = PYTHON_LOCK.read_bytes() + NPM_LOCK.read_bytes()
    made_at = int(os.environ.get("SOURCE_DATE_EPOCH") or NO_TIME)
    bom = Bom(serial_number=UUID(bytes=sha256(locks).digest()[:16], version=4))
    bom.metadata.component = us
    bom.metadata.timestamp = datetime.fromtimestamp(made_at, UTC)
    components = [*_python_components(project), *_npm_components()]
    for component in components:
        bom.components.add(component)
    bom.register_dependency(us, [c for c in components if c.scope != ComponentScope.EXCLUDED])
    return bom


def _python_components(project: dict[str, Any]) -> Iterable[Component]:
    required = needed_by(project["dependencies"])
    extras = project["optional-dependencies"]
    optional = needed_by(line for lines in extras.values() for line in lines)
    for locked in locked_in():
        scope = ComponentScope.EXCLUDED
        if locked.name in required:
            scope = ComponentScope.REQUIRED
        elif locked.name in optional:
            scope = ComponentScope.OPTIONAL
        yield _component(locked, "pypi", HashAlgorithm.SHA_256, scope, _license(locked.name))


def _npm_components() -> Iterable[Component]:
    for locked in locked_by_npm():
        is_ours = not locked.is_for_development
        scope = ComponentScope.REQUIRED if is_ours else ComponentScope.EXCLUDED
        yield _component(locked, "npm", HashAlgorithm.SHA_512, scope, locked.license)


def needed_by(requirements: Iterable[str]) -> set[str]:
    """Return the packages that `requirements` bring, on any platform, by their canonical names."""
    wanted: dict[str, set[str]] = {}
    waiting = [Requirement(line) for line in requirements]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        known = wanted.get(name)
        if known is not None and requirement.extras <= known:
            continue
        extras = wanted.setdefault(name, set())
        extras |= requirement.extras
        waiting += [each for each in map(Requirement, _requires(name)) if _counts(each, extras)]
    return set(wanted)


def _requires(name: str) -> list[str]:
    """Return the requirements of an installed package; of one for other platforms none is known."""
    try:
        return distribution(name).requires or []
    except PackageNotFoundError:
        return []


def _counts(requirement: Requirement, extras: set[str]) -> bool:
    named = EXTRA.findall(str(requirement.marker or ""))
    return not named or bool(extras.intersection(named))


def _license(name: str) -> str:
    try:
        metadata = distribution(name).metadata
    except PackageNotFoundError:
        return ""
    for field in ("License-Expression", "License"):
        for given in metadata.get_all(field) or ():
            # Older packages have the whole text there.
            return "" if "\n" in given else str(given)
    return ""


def _component(
    locked: Locked, registry: str, algorithm: HashAlgorithm, scope: ComponentScope, license: str
) -> Component:
    namespace, _, name = locked.name.rpartition("/")
    return Component(
        name=locked.name,
        version=locked.version,
        type=ComponentType.LIBRARY,
        scope=scope,
        hashes=[HashType(alg=algorithm, content=digest) for digest in locked.hashes],
        licenses=[LicenseFactory().make_from_string(license)] if license else [],
        purl=PackageURL(registry, namespace or None, name, locked.version),
        bom_ref=f"{registry}:{locked.name}@{locked.version}",
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
