"""The form of frames and commands (RFC 37), and functions that write them."""

from collections.abc import Sequence

MORE = 0x01
"""Flag of a frame: another frame of the same message follows."""
LONG = 0x02
"""Flag of a frame: its size has 8 bytes and not 1."""
COMMAND = 0x04
"""Flag of a frame: it is a command."""
MAX_SHORT_BYTES = 255

_SHORT_SIZES = [bytes((size,)) for size in range(MAX_SHORT_BYTES + 1)]


def pack_message(frames: Sequence[bytes]) -> bytes:
    """Return the bytes of one message on an unencrypted connection."""
    parts: list[bytes] = []
    last = len(frames) - 1
    for number, frame in enumerate(frames):
        size = len(frame)
        if size <= MAX_SHORT_BYTES:
            parts += (b"\x01" if number < last else b"\x00", _SHORT_SIZES[size], frame)
        else:
            head = b"\x03" if number < last else b"\x02"
            parts += (head, size.to_bytes(8, "big"), frame)
    return b"".join(parts)


def pack_three(first: bytes, second: bytes, last: bytes) -> bytes:
    """Return the bytes of a message of three frames, the first two of which are short."""
    size = len(last)
    if size <= MAX_SHORT_BYTES:
        head = b"\x00" + _SHORT_SIZES[size]
    else:
        head = b"\x02" + size.to_bytes(8, "big")
    return b"".join(
        (
            b"\x01",
            _SHORT_SIZES[len(first)],
            first,
            b"\x01",
            _SHORT_SIZES[len(second)],
            second,
            head,
            last,
        )
    )


def pack_frame(flags: int, body: bytes) -> bytes:
    """Return the bytes of one frame; `flags` without `LONG`."""
    if len(body) <= MAX_SHORT_BYTES:
        return bytes((flags, len(body))) + body
    return bytes((flags | LONG,)) + len(body).to_bytes(8, "big") + body


def pack_command(name: bytes, data: bytes) -> bytes:
    """Return the bytes of the command `name`."""
    return pack_frame(COMMAND, bytes((len(name),)) + name + data)


def split_command(body: bytes) -> tuple[bytes, bytes]:
    """Return name and data of the command in a frame; an empty name if there is none."""
    length = body[0] if body else 0
    name = body[1 : 1 + length]
    return (name, body[1 + length :]) if len(name) == length else (b"", b"")


def pack_metadata(properties: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Return the properties of a connection, name and value each."""
    return b"".join(
        bytes((len(name),)) + name + len(value).to_bytes(4, "big") + value
        for name, value in properties
    )


def unpack_metadata(data: bytes) -> dict[bytes, bytes]:
    """Return the properties by their names in lower case. Raises `ValueError`."""
    properties: dict[bytes, bytes] = {}
    position = 0
    while position < len(data):
        name_end = position + 1 + data[position]
        value_start = name_end + 4
        value_end = value_start + int.from_bytes(data[name_end:value_start], "big")
        if name_end == position + 1 or value_end > len(data) or value_start > len(data):
            raise ValueError("a property ends behind the end of the metadata")
        properties[data[position + 1 : name_end].lower()] = data[value_start:value_end]
        position = value_end
    return properties
