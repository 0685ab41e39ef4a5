"""The rows of events in a spool: packed, checked, and read again."""

import logging
import sqlite3
import zlib
from collections.abc import Iterable
from pathlib import Path

from emitters.core.outgoing import Outgoing
from relay.shared.sqlite_file import FileRefused
from relay.wire.errors import InvalidTopic
from relay.wire.topics import decode_topic, parse_topic

_SHOWN_NUMBERS = 10
_DAMAGED_TOPIC = "event:damaged"
"""The topic of an event whose own topic cannot be read."""

logger = logging.getLogger(__name__)


class Unsuitable(FileRefused):
    """A spool of a known format that is not this emitter's, or not whole."""


def read_events(
    path: Path, database: sqlite3.Connection, acknowledged: int, *, has_checksums: bool
) -> list[Outgoing]:
    """Return the events after `acknowledged`; of a damaged one no more than its number.

    Raises `Unsuitable`.
    """
    column = "checksum" if has_checksums else "NULL"
    rows = database.execute(
        f"SELECT sequence, topic, envelope, {column} FROM events WHERE sequence > ?"
        " ORDER BY sequence",
        (acknowledged,),
    )
    events: list[Outgoing] = []
    damaged: list[int] = []
    for expected, (sequence, topic, envelope, checksum) in enumerate(rows, acknowledged + 1):
        if sequence != expected:
            raise Unsuitable(f"is damaged (event {expected} is missing)")
        if checksum not in (None, _checksum(sequence, topic, envelope)):
            damaged.append(sequence)
            events.append(_without_content(topic))
        else:
            events.append(Outgoing(decode_topic(topic.encode()), envelope))
    if damaged:
        shown = ", ".join(map(str, damaged[:_SHOWN_NUMBERS]))
        more = ", …" if len(damaged) > _SHOWN_NUMBERS else ""
        logger.error(
            "%s: %d of %d events are damaged and lost: %s%s",
            path,
            len(damaged),
            len(events),
            shown,
            more,
        )
    return events


def _without_content(topic: object) -> Outgoing:
    """Return an event that uses a number up; the relay counts it as malformed."""
    try:
        return Outgoing(decode_topic(str(topic).encode(errors="replace")), b"")
    except InvalidTopic:
        return Outgoing(parse_topic(_DAMAGED_TOPIC), b"")


def packed_rows(first: int, events: Iterable[Outgoing]) -> list[tuple[int, str, bytes, int]]:
    """Return the rows of `events`, numbered from `first`."""
    return [
        (sequence, topic.text, envelope, _checksum(sequence, topic.text, envelope))
        for sequence, (topic, envelope) in enumerate(events, first)
    ]


def _checksum(sequence: int, topic: object, envelope: object) -> int:
    """Return the CRC-32 of a row; a damaged row may hold values of other types."""
    content = envelope if isinstance(envelope, bytes) else repr(envelope).encode()
    return zlib.crc32(content, zlib.crc32(f"{sequence} {topic}".encode(errors="replace")))
