"""Finds the inconsistencies of a journal: damage, missing offsets, events stored twice."""

from collections.abc import Iterator
from dataclasses import dataclass

from relay.journal.reader import JournalReader, LostRange
from relay.wire.envelope import unpack_envelope
from relay.wire.errors import WireError
from relay.wire.header import Header, ReceivedFrames, unpack_header
from relay.wire.topics import decode_topic


@dataclass(slots=True)
class _Numbers:
    """The sequence numbers of one emitter's epoch, over all streams."""

    first: int
    last: int
    count: int = 0

    def add(self, sequence: int) -> None:
        self.first = min(self.first, sequence)
        self.last = max(self.last, sequence)
        self.count += 1


_NumbersByEpoch = dict[tuple[bytes, int], _Numbers]
"""By emitter id and emitter epoch."""


def problems(journal: JournalReader) -> Iterator[str]:
    """Yield a line for each inconsistency, at one moment of the journal.

    Raises `sqlite3.DatabaseError` or `DamagedContent` when a table cannot be read at all.
    """
    with journal.snapshot():
        for line in journal.page_problems():
            yield f"file: {line}"
        numbers: _NumbersByEpoch = {}
        for stream in journal.streams():
            yield from _stream_problems(journal, stream.name, numbers)
        yield from _emitter_problems(journal, numbers)


def _stream_problems(
    journal: JournalReader, stream: str, numbers: _NumbersByEpoch
) -> Iterator[str]:
    last_offset = 0
    latest: dict[tuple[bytes, int], int] = {}
    for row in journal.rows(stream):
        if isinstance(row, LostRange):
            place = f"{row.first_offset} to {row.last_offset}"
            yield f"stream {stream}: {place} cannot be read: missing or damaged"
            continue
        if row.first_offset <= last_offset:
            yield f"stream {stream}: offset {last_offset} is followed by {row.first_offset}"
        last_offset = row.last_offset
        for offset, frames in enumerate(row.events, row.first_offset):
            where = f"stream {stream}: offset {offset}"
            try:
                header = _check(frames, stream)
            except WireError as error:
                yield f"{where}: {error}"
                continue
            if header is None:
                continue
            key = (header.emitter_id, header.epoch)
            if header.sequence <= latest.get(key, 0):
                yield f"{where}: sequence {header.sequence} again"
            latest[key] = header.sequence
            numbers.setdefault(key, _Numbers(header.sequence, header.sequence)).add(header.sequence)


def _emitter_problems(journal: JournalReader, numbers: _NumbersByEpoch) -> Iterator[str]:
    cursors = {each.cursor.emitter_id: each.cursor for each in journal.emitters()}
    for (emitter_id, epoch), found in numbers.items():
        name = emitter_id.hex()
        cursor = cursors.get(emitter_id)
        # The journal forgets the cursor of an emitter that was silent for a month.
        if cursor is not None:
            name = cursor.name
            if (epoch, found.last) > (cursor.epoch, cursor.sequence):
                yield f"emitter {name}: sequence {found.last} is beyond its cursor"
        # Events of one epoch may be missing (retention, malformed events), but none is there twice.
        if found.count > found.last - found.first + 1:
            yield f"emitter {name}: a sequence number was journaled twice"


def _check(frames: ReceivedFrames, stream: str) -> Header | None:
    """Return the header of a well-formed event of `stream`, None without one."""
    topic_frame, header, envelope = frames
    topic = decode_topic(topic_frame)
    if topic.kind != stream:
        raise WireError(f"topic {topic.text!r} does not belong here")
    unpack_envelope(envelope, topic.kind)
    return unpack_header(header) if header else None
