"""Reads the golden vectors in `tests/vectors/`, which every side's tests share."""

import json
from pathlib import Path
from typing import Any

_DIRECTORY = Path(__file__).parents[2] / "vectors"


def vectors(name: str) -> Any:
    """Return the content of `tests/vectors/<name>.json`."""
    return json.loads((_DIRECTORY / f"{name}.json").read_text(encoding="utf-8"))


def case_name(case: object) -> str:
    """Return the name of a vector for the list of tests."""
    return str(case["name"]) if isinstance(case, dict) and "name" in case else repr(case)[:60]
