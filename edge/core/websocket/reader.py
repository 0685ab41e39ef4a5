"""WebSocket frames as a client sends them: masked, maybe fragmented (RFC 6455, section 5)."""

import zlib
from collections.abc import Iterator
from typing import NamedTuple

from edge.core.websocket.close_codes import Close, CloseCode
from edge.core.websocket.frames import COMPRESSED, FIN, Opcode

_OPCODES = frozenset(Opcode)
_RESERVED = 0x70
_MASKED = 0x80
_MAX_CONTROL_BYTES = 125
_MASK_BYTES = 4
MIN_FRAGMENTS, BYTES_PER_FRAGMENT = 1024, 64
"""A message may have `MIN_FRAGMENTS`, or one for each so many bytes that it may have, if those are
more. Otherwise empty fragments could make it last for ever."""
NO_STATUS = 1005
"""Stands for a close frame without a code (RFC 6455, section 7.4.1)."""
_TAIL = b"\x00\x00\xff\xff"


class ProtocolViolation(Exception):  # noqa: N818
    """The client broke the rules: the connection must end with `close`."""

    def __init__(self, close: Close) -> None:
        super().__init__(close.reason)
        self.close = close


class Message(NamedTuple):
    """A whole message, uncompressed, or a control frame."""

    opcode: Opcode
    payload: bytes


class FrameReader:
    """Turns bytes, as they arrive, into whole messages.

    Bound: one message of `max_bytes` and the beginning of one frame.
    """

    __slots__ = (
        "_fragment_count",
        "_fragments",
        "_is_compressed",
        "_is_stopped",
        "_max_bytes",
        "_may_compress",
        "_needed_bytes",
        "_opcode",
        "_rest",
    )

    def __init__(self, max_bytes: int, *, may_compress: bool = False) -> None:
        """`max_bytes` limits the payload of a message, uncompressed."""
        self._max_bytes = max_bytes
        self._may_compress = may_compress
        self._rest: bytearray | None = None
        """The beginning of a frame that is not complete."""
        self._needed_bytes = 0
        """Bytes in `_rest` before which there is nothing new to find out about its frame."""
        self._fragments: bytearray | None = None
        """The payload so far of a message that is not complete."""
        self._fragment_count = 0
        self._opcode = Opcode.TEXT
        """The opcode of that message."""
        self._is_compressed = False
        self._is_stopped = False

    def stop(self) -> None:
        """Ignore everything that follows, and drop what is not complete."""
        self._is_stopped = True
        self._rest = self._fragments = None

    def feed(self, data: bytes) -> Iterator[Message | None]:
        """Yield the messages that `data` completes, and None for a frame that completes none.

        Raises `ProtocolViolation`; the reader is unusable afterwards. Abandoning the iterator
        drops unread data.
        """
        if self._is_stopped:
            return
        if self._rest is not None:
            # A large frame that comes in small pieces is not copied with each of them.
            self._rest += data
            if len(self._rest) < self._needed_bytes:
                return
            data, self._rest = bytes(self._rest), None
        position, end, self._needed_bytes = 0, len(data), 0
        while end - position >= 2:
            opcode, payload_at, size = self._header(data, position)
            if end < payload_at + size:
                # The frame, or the next byte of its header.
                is_length_there = end >= payload_at - _MASK_BYTES
                self._needed_bytes = payload_at + size - position if is_length_there else 0
                break
            payload = _unmasked(
                data[payload_at : payload_at + size], data[payload_at - _MASK_BYTES : payload_at]
            )
            first, position = data[position], payload_at + size
            if opcode >= Opcode.CLOSE:
                yield Message(opcode, payload)
            else:
                yield self._take(opcode, first, payload)
        if position < end:
            self._rest = bytearray(data[position:])

    def _header(self, data: bytes, position: int) -> tuple[Opcode, int, int]:
        """Return opcode, place of the payload and its size. Raises `ProtocolViolation`.

        Before the payload is there: a frame that is too large must not be gathered. Of a length
        that is not there whole, the size is its first bytes: less than the length.
        """
        first, second = data[position], data[position + 1]
        size = second & 0x7F
        payload_at = position + 2 + _MASK_BYTES
        if size > _MAX_CONTROL_BYTES:
            length = data[position + 2 : position + (4 if size == 126 else 10)]
            payload_at += 2 if size == 126 else 8
            size = _long_size(length, payload_at - _MASK_BYTES - position - 2)
        return self._check(first, second, size), payload_at, size

    def _check(self, first: int, second: int, size: int) -> Opcode:
        """Return the opcode of a frame. Raises `ProtocolViolation` for a bad header."""
        if (first & 0x0F) not in _OPCODES:
            raise _broken("unknown opcode")
        opcode = Opcode(first & 0x0F)
        if not second & _MASKED:
            raise _broken("unmasked frame")
        reserved = first & _RESERVED
        if reserved and not (
            reserved == COMPRESSED and self._may_compress and opcode in (Opcode.TEXT, Opcode.BINARY)
        ):
            raise _broken("reserved bits")
        if opcode >= Opcode.CLOSE:
            if size > _MAX_CONTROL_BYTES or not first & FIN:
                raise _broken("control frame too long or fragmented")
        elif (opcode is Opcode.CONTINUATION) == (self._fragments is None):
            raise _broken("fragments out of order")
        elif size + len(self._fragments or b"") > self._max_bytes:
            raise ProtocolViolation(CloseCode.TOO_LARGE.close())
        return opcode

    def _take(self, opcode: Opcode, first: int, payload: bytes) -> Message | None:
        """Add a data frame to its message; return the message if it is complete."""
        if opcode is not Opcode.CONTINUATION:
            self._opcode = opcode
            self._is_compressed = bool(first & COMPRESSED)
            if not first & FIN:
                self._fragments = bytearray(payload)
                self._fragment_count = 1
                return None
        if self._fragments is not None:
            self._fragments += payload
            self._fragment_count += 1
            if self._fragment_count > max(MIN_FRAGMENTS, self._max_bytes // BYTES_PER_FRAGMENT):
                raise ProtocolViolation(CloseCode.TOO_LARGE.close("too many fragments"))
            if not first & FIN:
                return None
            payload = bytes(self._fragments)
            self._fragments = None
        if self._is_compressed:
            payload = self._inflated(payload)
        return Message(self._opcode, payload)

    def _inflated(self, payload: bytes) -> bytes:
        inflater = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
        try:
            # One byte more than allowed: a bomb is found without being inflated.
            inflated = inflater.decompress(payload + _TAIL, self._max_bytes + 1)
        except zlib.error:
            raise _broken("bad compression") from None
        if len(inflated) > self._max_bytes:
            raise ProtocolViolation(CloseCode.TOO_LARGE.close())
        return inflated


def read_close(payload: bytes) -> Close:
    """Return the content of a close frame. Raises `ProtocolViolation`."""
    if not payload:
        return Close(NO_STATUS, "")
    code = int.from_bytes(payload[:2])
    if len(payload) == 1 or not (1000 <= code <= 1014 or 3000 <= code <= 4999):
        raise _broken("bad close code")
    if code in (1004, NO_STATUS, 1006):
        raise _broken("bad close code")
    try:
        return Close(code, payload[2:].decode())
    except UnicodeDecodeError:
        raise ProtocolViolation(CloseCode.INVALID_TEXT.close()) from None


def _long_size(length: bytes, length_bytes: int) -> int:
    """Return the size in an extended length of `length_bytes`, of which `length` is there.

    Raises `ProtocolViolation` for a length that fits into fewer bytes (RFC 6455, section 5.2).
    """
    size = int.from_bytes(length)
    smallest = 126 if length_bytes == 2 else 2**16
    if len(length) == length_bytes and size < smallest:
        raise _broken("length not minimal")
    return size


def _broken(reason: str) -> ProtocolViolation:
    return ProtocolViolation(CloseCode.PROTOCOL_ERROR.close(reason))


def _unmasked(payload: bytes, mask: bytes) -> bytes:
    size = len(payload)
    # One XOR of two large integers: a loop over the bytes would cost a hundred times as much.
    key = (mask * (size // _MASK_BYTES + 1))[:size]
    return (int.from_bytes(payload, "little") ^ int.from_bytes(key, "little")).to_bytes(
        size, "little"
    )
