"""Which rows of a stream the journal no longer keeps: old ones, and the oldest above a size."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from relay.wire.kinds import MAX_RETENTION_S, Kinds
from relay.wire.topics import REVOCATION

REVOCATION_BYTES = 64 * 1024 * 1024
"""Kept of the stream of revoked tokens, however old they are: some hundred thousand."""


class Limits(NamedTuple):
    """How much of each stream is kept."""

    max_age_ms: int
    max_bytes: int
    exceptions: Mapping[str, "Limits"] = MappingProxyType({})
    """Stream to the limits that it has instead."""

    @classmethod
    def of_kinds(cls, kinds: Kinds, retention_s: float, retention_bytes: int) -> "Limits":
        """Return the limits of each kind, or in their place `retention_s` and `retention_bytes`."""

        def limits(seconds: float | None, size: int | None) -> Limits:
            age_s = retention_s if seconds is None else seconds
            return cls(int(age_s * 1000), retention_bytes if size is None else size)

        exceptions = {
            each.name: limits(each.retention_s, each.retention_bytes)
            for each in kinds.listed
            if each.retention_s is not None or each.retention_bytes is not None
        }
        exceptions[REVOCATION] = limits(MAX_RETENTION_S, REVOCATION_BYTES)
        return limits(None, None)._replace(exceptions=exceptions)

    def of(self, stream: str) -> "Limits":
        """Return the limits of `stream`."""
        return self.exceptions.get(stream, self)

    def with_age(self, max_age_ms: int) -> "Limits":
        """Return the same sizes with another age, for every stream."""
        exceptions = {name: each.with_age(max_age_ms) for name, each in self.exceptions.items()}
        return self._replace(max_age_ms=max_age_ms, exceptions=exceptions)


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
