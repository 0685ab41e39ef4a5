"""Headless Chromium for tests and measurements."""

import os
import shutil

import pytest

CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
MISSING = "Chromium is missing: install it (Debian: apt-get install chromium) or set CHROMIUM"


def find_chromium() -> str | None:
    """Return the path of Chromium, by the variable CHROMIUM or the usual names; None if missing."""
    names = (os.environ.get("CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome")
    return next((found for name in names if name and (found := shutil.which(name))), None)


def require_chromium() -> str:
    """Return the path of Chromium, or skip the test; with CI=true its absence is a failure."""
    found = find_chromium()
    if found is not None:
        return found
    if os.environ.get("CI") == "true":
        pytest.fail(MISSING)
    pytest.skip(MISSING)
