"""Which rows of a stream the journal no longer keeps: old ones, and the oldest above a size."""

from collections.abc import Sequence
from typing import NamedTuple


class Limits(NamedTuple):
    """How much of each stream is kept."""

    max_age_ms: int
    max_bytes: int


class StoredRow(NamedTuple):
    """Consecutive events that are stored together and removed together."""

    last_offset: int
    relayed_at: int
    """Unix time in milliseconds."""
    stored_bytes: int


def rows_to_retire(
    rows: Sequence[StoredRow], stream_bytes: int, limits: Limits, now_ms: int
) -> int:
    """Return how many of `rows`, the oldest rows of a stream, exceed `limits`.

    `stream_bytes` is the size of the whole stream. The last of `rows` is never counted: the
    stream's next offset is derived from the newest row, so that one row has to stay.
    """
    count = 0
    for row in rows[:-1]:
        # Rows are only removed in order, or the stream would have a hole. A row that looks new
        # because the clock was set back therefore keeps the rows after it.
        if stream_bytes <= limits.max_bytes and row.relayed_at >= now_ms - limits.max_age_ms:
            break
        stream_bytes -= row.stored_bytes
        count += 1
    return count
