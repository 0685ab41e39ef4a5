"""Reads the golden vectors in `tests/vectors/`, which every side's tests share."""

import json
from pathlib import Path
from typing import Any

_DIRECTORY = Path(__file__).parents[2] / "vectors"


def vectors(name: str) -> Any:
    """Return what `tests/vectors/<name>.json` holds."""
    return json.loads((_DIRECTORY / f"{name}.json").read_text(encoding="utf-8"))


def case_name(case: object) -> str:
    """How a vector is called in the list of tests."""
    return str(case["name"]) if isinstance(case, dict) and "name" in case else repr(case)[:60]
