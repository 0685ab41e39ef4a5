"""JSON texts, valid at first, and changed in a value or in their bytes."""

import json
from collections.abc import Sequence
from random import Random
from typing import Any

from tests.fuzz.changes import changed_alike, changed_bytes, changed_value

LEAVES: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1.5,
    -0.0,
    1e308,
    2**53,
    2**63,
    2**64,
    10**400,
    "",
    "x" * 300,
    "\0\n\x1b[2J",
    "é\U0001f600",
    "*",
    "event:*",
    [],
    {},
    float("nan"),
    float("inf"),
)
SURROGATE = rb'"\ud800"'


def changed_json(chance: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Return a JSON text with a changed value, or with changed bytes."""
    if chance.random() < 0.75:
        try:
            value = json.loads(data)
        except ValueError:
            return changed_bytes(chance, data, others)
        is_alike = chance.random() < 0.4
        new = changed_alike(chance, value) if is_alike else changed_value(chance, value, LEAVES)
        changed = json.dumps(new).encode()
        return changed.replace(b'"\\u001b', SURROGATE) if chance.random() < 0.02 else changed
    return changed_bytes(chance, data, others)
