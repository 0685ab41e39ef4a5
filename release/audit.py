"""`make audit`: asks for known vulnerabilities of the versions in the lock files.

    python -m release.audit

Exit code 0: none is known. 1: some are, one a line. 3: nobody could be asked about some packages,
for instance without a network, and none is known of the others. pip-audit and npm ask.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from release.locks import ROOT

EXIT_FOUND = 1
EXIT_NOT_ASKED = 3
TIMEOUT_S = 600
PIP_AUDIT = (
    *(sys.executable, "-m", "pip_audit", "--require-hashes", "--no-deps", "--disable-pip"),
    *("--format", "json", "--progress-spinner", "off"),
)
NPM_AUDIT = ("npm", "audit", "--json", "--package-lock-only", "--fetch-retries", "0")


class Report(NamedTuple):
    """An answer about the packages of lock files."""

    found: tuple[str, ...] = ()
    """A line for each package with vulnerabilities."""
    not_asked: str = ""
    """About whom there is no answer, for people; empty if there is one about all."""


def main() -> int:
    """Ask, print the answer, and return the exit code."""
    named = [part for path in python_locks() for part in ("-r", str(path))]
    reports = [
        python_report(_run((*PIP_AUDIT, *named))),
        *(npm_report(each, _run(NPM_AUDIT, ROOT / each)) for each in (".", "bench")),
    ]
    found = [line for report in reports for line in report.found]
    not_asked = [report.not_asked for report in reports if report.not_asked]
    for line in found:
        print(f"audit: {line}")
    if not_asked:
        print(f"audit: not checked, is there a network? No answer about {', '.join(not_asked)}")
    if not found and not not_asked:
        print("audit: no vulnerability of the locked versions is known")
    return EXIT_FOUND if found else EXIT_NOT_ASKED if not_asked else 0


def python_locks() -> list[Path]:
    """Return the locks of Python packages."""
    return sorted(ROOT.glob("requirements*.lock"))


def python_report(answer: str) -> Report:
    """Return what pip-audit has answered; "" without an answer."""
    packages = _parsed(answer).get("dependencies")
    if not isinstance(packages, list):
        return Report(not_asked="Python packages")
    found = []
    for package in packages:
        ids = [each["id"] for each in package.get("vulns", ())]
        fixes = [fix for each in package.get("vulns", ()) for fix in each["fix_versions"]]
        if ids:
            mended = f"; mended in {', '.join(dict.fromkeys(fixes))}" if fixes else ""
            found.append(f"{package['name']} {package['version']}: {', '.join(ids)}{mended}")
    # Without an answer, pip-audit passes over a package and is content.
    skipped = sum("skip_reason" in package for package in packages)
    not_asked = f"{skipped} of {len(packages)} Python packages" if skipped else ""
    return Report(tuple(found), not_asked)


def npm_report(folder: str, answer: str) -> Report:
    """Return what npm has answered about the lock in `folder`; "" without an answer."""
    lock = (Path(folder) / "package-lock.json").as_posix()
    packages = _parsed(answer).get("vulnerabilities")
    if not isinstance(packages, dict):
        return Report(not_asked=lock)
    found = [f"{name} {entry['range']}: {entry['severity']}" for name, entry in packages.items()]
    return Report(tuple(found))


def _parsed(answer: str) -> dict[str, Any]:
    try:
        found = json.loads(answer)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _run(command: Sequence[str], folder: Path = ROOT) -> str:
    """Return the standard output of a program; "" if there is none."""
    if shutil.which(command[0]) is None:
        return ""
    try:
        ran = subprocess.run(
            command, cwd=folder, env=os.environ, capture_output=True, text=True, timeout=TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        return ""
    return ran.stdout


if __name__ == "__main__":
    sys.exit(main())
