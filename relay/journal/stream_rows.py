"""`StreamRows`: the rows of one stream that can be read, whatever is damaged between them."""

import sqlite3
from collections.abc import Iterator
from typing import NamedTuple

from relay.journal.format import (
    EVENTS,
    FIRST,
    MAX_OFFSET,
    RELAYED_AT,
    DamagedContent,
    row_checksum,
    unpack_events,
)
from relay.shared.sqlite_file import is_damage
from relay.wire.header import ReceivedFrames


class EventRow(NamedTuple):
    """The events of one stream that one batch brought."""

    first_offset: int
    last_offset: int
    relayed_at: int
    """Unix time in milliseconds."""
    events: list[ReceivedFrames]


class StreamRows:
    """Reads `table` from `db`; `checksum` is the expression for a row's checksum."""

    def __init__(self, db: sqlite3.Connection, table: str, checksum: str) -> None:
        self._db = db
        self._table = table
        self._checksum = checksum

    def whole_rows(self, after: int, end: int) -> Iterator[tuple[EventRow, int]]:
        """Yield the rows above `after` that can be read, in order, and the size of their events."""
        position: int | None = after
        while position is not None:
            try:
                for last, first, relayed_at, packed, checksum in self._db.execute(
                    f"SELECT last, {FIRST}, {RELAYED_AT}, {EVENTS}, {self._checksum}"
                    f" FROM {self._table} WHERE last > ? ORDER BY last",
                    (position,),
                ):
                    row = _whole_row(last, first, relayed_at, packed, checksum)
                    if row is not None:
                        yield row, len(packed)
                    position = last
                return
            except sqlite3.DatabaseError as error:
                if not is_damage(error):
                    raise
                position = self._skip_damage(position, end)

    def _skip_damage(self, position: int, end: int) -> int | None:
        """Return the offset after which rows can be read again, None if there is none up to `end`.

        The query for the rows after `position` has met a damaged page.
        """
        key = self._key_after(position)
        if key is not None:
            # Only the events of this row lie on the damaged page.
            return key
        distance = 1
        while position + distance <= end and self._key_after(position + distance) is None:
            distance *= 2
        low, high = position + distance // 2, position + distance
        if high > end:
            return None
        while high - low > 1:
            middle = (low + high) // 2
            if self._key_after(middle) is None:
                low = middle
            else:
                high = middle
        return high

    def _key_after(self, position: int) -> int | None:
        """Return the key of the first row above `position`, None if it cannot be read."""
        try:
            found = self._db.execute(
                f"SELECT last FROM {self._table} WHERE last > ? ORDER BY last LIMIT 1",
                (min(position, MAX_OFFSET),),
            ).fetchone()
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            return None
        return None if found is None else int(found[0])

    def first_offset(self) -> int:
        """Return the offset of the first event, 1 if there is none or it cannot be read."""
        try:
            found = self._db.execute(
                f"SELECT {FIRST} FROM {self._table} ORDER BY last LIMIT 1"
            ).fetchone()
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            return 1
        return found[0] if found else 1

    def last_offset(self) -> int:
        """Return the offset of the last event that can be read, 0 if there is none."""
        try:
            (last,) = self._db.execute(f"SELECT max(last) FROM {self._table}").fetchone()
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            return self._last_before_damage()
        return last or 0

    def _last_before_damage(self) -> int:
        """Return an offset near the end of the stream, whose newest rows cannot be read."""
        low, high = 0, MAX_OFFSET
        while high - low > 1:
            middle = (low + high) // 2
            if self._key_after(middle) is None:
                high = middle
            else:
                low = middle
        return high if low else 0


def _whole_row(
    last: int, first: int, relayed_at: int, packed: bytes, checksum: int | None
) -> EventRow | None:
    """Return the row with these columns, None if they are not what a relay has written."""
    if checksum is not None and row_checksum(last, first, relayed_at, packed) != checksum:
        return None
    try:
        events = list(unpack_events(packed))
    except DamagedContent:
        return None
    return EventRow(first, last, relayed_at, events) if last - first + 1 == len(events) else None
