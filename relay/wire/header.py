"""The two fixed-size binary frames (protocol section 3).

A tracked emitter puts a `Header` between topic and envelope. The relay replaces it by a `Stamp`
on the way to the edges. Both start with a version byte; integers are big-endian.
"""

import struct
import zlib
from collections.abc import Iterable
from typing import NamedTuple

from relay.wire.errors import InvalidFrame

VERSION = 1
SENT_AGAIN = 2**64 - 1
"""The sequence number of a live value that its emitter sends again, since it may have been lost."""
EMITTER_ID_BYTES = 16
MAX_OFFSET = 2**63 - 1
"""SQLite has no greater number."""
MAX_TIME_MS = 2**53 - 1
"""JavaScript tells no greater number from its neighbours."""

ReceivedFrames = tuple[bytes, bytes, bytes]
"""An event on its way to the relay: topic, header, envelope. The header is empty if the event is
not tracked."""
StampedFrames = tuple[bytes, bytes, bytes]
"""An event on its way from the relay: topic, stamp, envelope."""

_HEADER = struct.Struct("!B16sQQ")
_STAMP = struct.Struct("!BQQQ")


class Header(NamedTuple):
    """The emitter of an event, and the event's place among the emitter's events."""

    emitter_id: bytes
    epoch: int
    sequence: int
    """Contiguous from 1 within the emitter's epoch for journaled kinds; 0 or `SENT_AGAIN` for live
    kinds."""


class Stamp(NamedTuple):
    """The place of an event in its stream, and when it was relayed."""

    epoch: int
    offset: int
    """Contiguous from 1 within the stream; 0 for live kinds, which are not numbered. At most
    `MAX_OFFSET`."""
    relayed_at: int
    """Unix time in milliseconds, at most `MAX_TIME_MS`."""


def pack_header(header: Header) -> bytes:
    """Return the 33 bytes of `header`."""
    return _HEADER.pack(VERSION, *header)


def unpack_header(frame: bytes) -> Header:
    """Return the header in `frame`, or raise `InvalidFrame`."""
    if len(frame) != _HEADER.size or frame[0] != VERSION:
        raise _invalid(_HEADER, frame, "header")
    _, emitter_id, epoch, sequence = _HEADER.unpack(frame)
    return Header(emitter_id, epoch, sequence)


def pack_stamps(epoch: int, offsets: Iterable[int], relayed_at: int) -> list[bytes]:
    """Return the stamps of events that are relayed together, in the order of `offsets`."""
    return [_STAMP.pack(VERSION, epoch, offset, relayed_at) for offset in offsets]


def pack_stamp(stamp: Stamp) -> bytes:
    """Return the 25 bytes of `stamp`."""
    return _STAMP.pack(VERSION, *stamp)


def unpack_stamp(frame: bytes) -> Stamp:
    """Return the stamp in `frame`, or raise `InvalidFrame`."""
    if len(frame) != _STAMP.size or frame[0] != VERSION:
        raise _invalid(_STAMP, frame, "stamp")
    _, epoch, offset, relayed_at = _STAMP.unpack(frame)
    if offset > MAX_OFFSET or relayed_at > MAX_TIME_MS:
        raise InvalidFrame(f"offset {offset} or time {relayed_at} of a stamp is too great")
    return Stamp(epoch, offset, relayed_at)


def event_checksum(relayed_at: int, topic: bytes, envelope: bytes) -> int:
    """Return the CRC-32 by which edge and relay tell one event from another at the same offset."""
    return zlib.crc32(envelope, zlib.crc32(topic, zlib.crc32(relayed_at.to_bytes(8))))


def _invalid(layout: struct.Struct, frame: bytes, name: str) -> InvalidFrame:
    if len(frame) != layout.size:
        return InvalidFrame(f"a {name} has {layout.size} bytes, this one {len(frame)}")
    return InvalidFrame(f"{name} version {frame[0]} is not supported, expected {VERSION}")
