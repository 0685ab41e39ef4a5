"""A real Caddy, by the path that the system knows."""

import shutil

import pytest


def find_caddy() -> str:
    """Return the path of Caddy; skip the test without it."""
    caddy = shutil.which("caddy", path="/usr/bin:/usr/local/bin")
    if caddy is None:
        pytest.skip("Caddy is not installed")
    return caddy
