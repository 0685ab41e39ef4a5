"""The lock files: `requirements*.lock` of Python packages, `package-lock.json` of npm packages."""

import json
import re
from base64 import b64decode
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PYTHON_LOCK = ROOT / "requirements.lock"
NPM_LOCK = ROOT / "package-lock.json"
_PINNED = re.compile(r"^([\w.-]+)(?:\[[\w,-]*\])?==([^\s;\\]+)")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_MODULES = "node_modules/"


class Locked(NamedTuple):
    """A package in a lock file."""

    name: str
    version: str
    hashes: tuple[str, ...]
    """SHA-256 of each file of a Python package, SHA-512 of the archive of an npm package."""
    is_for_development: bool = False
    """As npm's lock has it; that of Python packages does not say so."""
    license: str = ""


def locked_in(path: Path = PYTHON_LOCK) -> list[Locked]:
    """Return the packages in a lock of Python packages. Raises `ValueError` for one unhashed."""
    found = []
    for entry in re.split(r"\n(?=\S)", path.read_text(encoding="utf-8").strip()):
        pinned = _PINNED.match(entry)
        hashes = tuple(_HASH.findall(entry))
        if pinned is None or not hashes:
            raise ValueError(f"{path.name}: neither version nor hashes in {entry[:60]!r}")
        found.append(Locked(pinned[1], pinned[2], hashes))
    return found


def locked_by_npm(path: Path = NPM_LOCK) -> list[Locked]:
    """Return the packages in a lock of npm packages. Raises `ValueError` for one unhashed."""
    found = []
    for place, entry in json.loads(path.read_bytes())["packages"].items():
        if not place:
            continue
        algorithm, _, digest = entry.get("integrity", "").partition("-")
        if algorithm != "sha512":
            raise ValueError(f"{path.name}: no hash of {place}")
        name = place.rpartition(_MODULES)[2]
        is_for_development = bool(entry.get("dev"))
        hashes = (b64decode(digest).hex(),)
        found.append(
            Locked(name, entry["version"], hashes, is_for_development, entry.get("license", ""))
        )
    return found
