"""The note beside the journal: its epoch and its newest rows, written after each commit.

The file survives the end of the process as the journal's own files do, but it is not one of them:
whatever removes, truncates or replaces those leaves a note that disagrees with them.

It holds `EVTN`, a CRC-32 (4 bytes, big-endian) of the rest, the length of the rest (2 bytes), and
the rest: a msgpack map with `epoch`, with `tails`, stream to offset and checksum, and with `sizes`,
stream to first offset and stored bytes.
"""

import os
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import msgpack

from relay.core.epochs import Tail

_HEADER = struct.Struct("!4sIH")
_MAGIC = b"EVTN"
_MAX_BYTES = 65_536


class StreamSize(NamedTuple):
    """How much of a stream is stored."""

    first_offset: int
    stored_bytes: int


class TailNote(NamedTuple):
    """The state of a journal after a commit."""

    epoch: int
    tails: Mapping[str, Tail]
    sizes: Mapping[str, StreamSize] = MappingProxyType({})
    """By stream. A relay that starts need not add them up."""


class TailNoteFile:
    """The note at `path`, open until `close`. Raises `OSError`."""

    def __init__(self, path: Path) -> None:
        # Written with a system call and not through a memory map: a full or broken disk is then an
        # error, and not a signal that ends the process.
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def read(self) -> TailNote | None:
        """Return the note, None if there is none or it is not whole."""
        content = os.pread(self._file, _MAX_BYTES, 0)
        if len(content) < _HEADER.size:
            return None
        magic, checksum, size = _HEADER.unpack_from(content)
        body = content[_HEADER.size : _HEADER.size + size]
        if magic != _MAGIC or len(body) != size or zlib.crc32(body) != checksum:
            return None
        fields = msgpack.unpackb(body)
        tails = {stream: Tail(*tail) for stream, tail in fields["tails"].items()}
        sizes = {stream: StreamSize(*size) for stream, size in fields.get("sizes", {}).items()}
        return TailNote(fields["epoch"], tails, sizes)

    def write(self, note: TailNote) -> None:
        """Replace the note."""
        fields = {"epoch": note.epoch, "tails": dict(note.tails), "sizes": dict(note.sizes)}
        body = msgpack.packb(fields)
        os.pwrite(self._file, _HEADER.pack(_MAGIC, zlib.crc32(body), len(body)) + body, 0)

    def close(self) -> None:
        """Close the file, which stays."""
        os.close(self._file)
        # The number may soon be another file's.
        self._file = -1
