"""What the journal no longer keeps: what is too old, and the oldest of what is too much."""

from collections.abc import Sequence
from typing import NamedTuple


class Limits(NamedTuple):
    """Of each stream by itself."""

    max_age_ms: int
    max_bytes: int


class Row(NamedTuple):
    """Consecutive events that are stored, and go, together."""

    last: int
    """The offset of the last one."""
    relayed_at: int
    """Unix time in milliseconds."""
    stored_bytes: int


def rows_to_retire(rows: Sequence[Row], stored_bytes: int, limits: Limits, now_ms: int) -> int:
    """Return how many of `rows`, the oldest of a stream, have to go.

    `stored_bytes` is the size of the whole stream. The last of `rows` always stays, so that a
    stream never loses its place.
    """
    count = 0
    for row in rows[:-1]:
        if stored_bytes <= limits.max_bytes and row.relayed_at >= now_ms - limits.max_age_ms:
            break
        stored_bytes -= row.stored_bytes
        count += 1
    return count
