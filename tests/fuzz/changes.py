"""Changes of valid traffic: of bytes, of msgpack values, and of ZMTP frames."""

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from random import Random
from typing import Any

import msgpack

BYTES = (0, 1, 2, 3, 4, 7, 8, 0x7F, 0x80, 0xC1, 0xDC, 0xFE, 0xFF)
SIZES = (0, 1, 254, 255, 256, 4096, 4097, 65_535, 2**20, 2**24, 2**31, 2**32, 2**63, 2**64 - 1)
MAX_GROWTH = 4_096
"""An input grows by about so many bytes with each repetition."""
MAX_STEPS = 4


def changed_bytes(chance: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Return `data` with a few changes; `others` are inputs to take pieces of."""
    for _ in range(chance.randint(1, MAX_STEPS)):
        data = chance.choice(_BYTE_CHANGES)(chance, data, others)
    return data


def _flip(chance: Random, data: bytes, _others: Sequence[bytes]) -> bytes:
    if not data:
        return data
    at = chance.randrange(len(data))
    return data[:at] + bytes((data[at] ^ (1 << chance.randrange(8)),)) + data[at + 1 :]


def _set(chance: Random, data: bytes, _others: Sequence[bytes]) -> bytes:
    at = chance.randint(0, len(data))
    return data[:at] + bytes((chance.choice(BYTES),)) + data[at + 1 :]


def _cut(chance: Random, data: bytes, _others: Sequence[bytes]) -> bytes:
    first, last = _range(chance, data)
    return data[:first] + data[last:]


def _truncate(chance: Random, data: bytes, _others: Sequence[bytes]) -> bytes:
    return data[: chance.randint(0, len(data))]


def _repeat(chance: Random, data: bytes, _others: Sequence[bytes]) -> bytes:
    first, last = _range(chance, data)
    times = chance.randint(1, max(1, MAX_GROWTH // max(1, last - first)))
    return data[:last] + data[first:last] * times + data[last:]


def _splice(chance: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    other = chance.choice(others)
    first, last = _range(chance, other)
    at = chance.randint(0, len(data))
    return data[:at] + other[first:last] + data[at:]


def _insert(chance: Random, data: bytes, _others: Sequence[bytes]) -> bytes:
    at = chance.randint(0, len(data))
    return data[:at] + chance.randbytes(chance.randint(1, 20)) + data[at:]


def _set_size(chance: Random, data: bytes, _others: Sequence[bytes]) -> bytes:
    at, width = chance.randint(0, len(data)), chance.choice((1, 2, 4, 8))
    size: int = chance.choice(SIZES) % 256**width
    return data[:at] + size.to_bytes(width, "big") + data[at + width :]


def _range(chance: Random, data: bytes) -> tuple[int, int]:
    first = chance.randint(0, len(data))
    return first, chance.randint(first, min(len(data), first + chance.choice((1, 8, 10_000))))


_BYTE_CHANGES: tuple[Callable[[Random, bytes, Sequence[bytes]], bytes], ...] = (
    _flip,
    _set,
    _cut,
    _truncate,
    _repeat,
    _splice,
    _insert,
    _set_size,
)

LEAVES: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    2**53,
    2**63,
    2**64 - 1,
    -(2**63),
    0.5,
    math.nan,
    math.inf,
    "",
    "x" * 300,
    "\0\n\x1b[2J",
    "é\U0001f600",
    b"",
    b"\xff" * 16,
    (),
    {},
    msgpack.ExtType(5, b"x"),
)

NAMES: tuple[Any, ...] = ("", "x", "id", "op", "more", "since", 5, b"b", None, 2.5)


def changed_value(chance: Random, value: Any, leaves: Sequence[Any] = LEAVES) -> Any:
    """Return `value`, of maps, lists and leaves, with one change somewhere in it."""
    if isinstance(value, dict) and value and chance.random() < 0.9:
        return _changed_map(chance, value, leaves)
    if isinstance(value, list | tuple) and value and chance.random() < 0.9:
        items = list(value)
        at = chance.randrange(len(items))
        match chance.randrange(4):
            case 0:
                del items[at]
            case 1:
                items += [items[at]] * chance.choice((1, 10, 2000))
            case _:
                items[at] = changed_value(chance, items[at], leaves)
        return items
    match chance.randrange(4):
        case 0:
            return [value] * chance.choice((1, 3))
        case 1:
            return _nested(value, chance.choice((3, 40, 600)))
        case _:
            return chance.choice(leaves)


def _changed_map(chance: Random, value: dict[Any, Any], leaves: Sequence[Any]) -> dict[Any, Any]:
    key = chance.choice(list(value))
    # JSON has text as keys alone, and the leaves of it no bytes.
    names = [each for each in NAMES if isinstance(each, str) or leaves is LEAVES]
    match chance.randrange(6):
        case 0:
            return {each: item for each, item in value.items() if each != key}
        case 1:
            return value | {chance.choice(names): value[key]}
        case 2:
            return value | {f"{number}": value[key] for number in range(chance.choice((3, 2000)))}
        case _:
            return value | {key: changed_value(chance, value[key], leaves)}


ALIKE: dict[type, tuple[Any, ...]] = {
    int: (0, 1, 2, 2**31, 2**32, 2**53 - 1, 2**53, 2**63 - 1, 2**63, 2**64 - 1),
    float: (0.0, -0.0, 0.5, 1e-300, 1e308, 3600.0),
    str: ("", "x", "x" * 256, "9" * 30, "0" * 5_000, "é\U0001f600", "\0", "*", "a:b", "event"),
    bytes: (b"", b"x", b"\0" * 16, b"\xff" * 5_000, b"\x80", b"\xc1"),
}
"""Values at the bounds of a type."""


def changed_alike(chance: Random, value: Any) -> Any:
    """Return `value` with one value in it replaced by another of its type, so that its form stays.

    Further code is reached than by a wrong type.
    """
    if isinstance(value, dict) and value:
        key = chance.choice(list(value))
        if isinstance(key, str) and chance.random() < 0.1:
            return value | {chance.choice(ALIKE[str]): value[key]}
        return value | {key: changed_alike(chance, value[key])}
    if isinstance(value, list | tuple) and value:
        items = list(value)
        at = chance.randrange(len(items))
        items[at] = changed_alike(chance, items[at])
        return items
    return chance.choice(ALIKE.get(type(value), (value,)))


def _nested(value: Any, depth: int) -> Any:
    for _ in range(depth):
        value = [value]
    return value


def changed_msgpack(chance: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Return msgpack `data` with a changed value, or with changed bytes."""
    if chance.random() < 0.7:
        change = chance.choice((changed_value, changed_alike))
        with suppress(ValueError, TypeError, OverflowError, msgpack.UnpackException):
            value = msgpack.unpackb(data, strict_map_key=False)
            packed: bytes = msgpack.packb(change(chance, value))
            return packed
    return changed_bytes(chance, data, others)


def changed_frames(chance: Random, frames: Sequence[bytes], others: Sequence[bytes]) -> list[bytes]:
    """Return the frames of a message with a change of their number, order or content."""
    found = list(frames)
    at = chance.randrange(len(found))
    match chance.randrange(8):
        case 0:
            del found[at]
        case 1:
            found += [found[at]] * chance.choice((1, 5, 20))
        case 2:
            chance.shuffle(found)
        case 3 | 4:
            found[at] = changed_bytes(chance, found[at], others)
        case _:
            found[at] = changed_msgpack(chance, found[at], others)
    return found


def lying(chance: Random, frames: Sequence[bytes], lies: float = 0.1) -> bytes:
    """Return ZMTP frames; with the chance `lies` each, flags and size are wrong."""
    parts: list[bytes] = []
    for number, frame in enumerate(frames):
        flags, size = int(number < len(frames) - 1), len(frame)
        if chance.random() < lies:
            flags = chance.choice((0, 1, 2, 3, 4, 5, 6, 7, 8, 0xFF))
        if chance.random() < lies:
            size = chance.choice(SIZES)
        if size > 255 or flags & 2:
            parts.append(bytes((flags | 2,)) + size.to_bytes(8, "big") + frame)
        else:
            parts.append(bytes((flags, size)) + frame)
    return b"".join(parts)
