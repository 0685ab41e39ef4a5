"""`FreedMemory`: gives memory that was freed back to the operating system, again and again.

The C library keeps what was freed while anything behind it is in use, even hundreds of mebibytes
that waited for a moment.
"""

import ctypes
from collections.abc import Callable

INTERVAL_S = 10.0
"""It takes 0.2 ms if there is nothing to be given back, and 0.1 ms for each mebibyte."""


class FreedMemory:
    """Of this process. It does nothing where the C library has no such function."""

    def __init__(self) -> None:
        self._trim = _found_trim()
        self._due_at = 0.0

    def tick(self, now: float) -> bool:
        """Give freed memory back if it is time; return whether that was tried."""
        if self._trim is None or now < self._due_at:
            return False
        self._due_at = now + INTERVAL_S
        self._trim(0)
        return True


def _found_trim() -> Callable[[int], int] | None:
    try:
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None  # Another C library than that of GNU.
    return trim
