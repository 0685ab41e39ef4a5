"""A dict keeps the room of its largest size: this gives it back."""

import sys
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")

SMALL_BYTES = 64 * 1024
MAX_BYTES_OF_ITEM = 400
"""A full dict has about 100 bytes for an item, and one that has just grown 200."""


def compacted(values: dict[K, V]) -> dict[K, V]:
    """Return `values`, or a copy if most of its room is empty; in the same order."""
    is_roomy = sys.getsizeof(values) > SMALL_BYTES + MAX_BYTES_OF_ITEM * len(values)
    return dict(values) if is_roomy else values
