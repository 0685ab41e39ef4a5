"""`carry` turns any Python value into one that an event can carry.

`Emitter.emit` refuses values that msgpack and JSON cannot carry. Arguments and results of decorated
functions and tasks may be anything, so they go through `carry` first: it never raises, and its
result always passes `relay.wire.envelope.check_value`.
"""

import dataclasses
import enum
import math
from collections.abc import Iterable, Mapping, Set
from datetime import date, time
from typing import Any

from pydantic import BaseModel

MAX_CARRIED_BYTES = 256 * 1024
MAX_TEXT_BYTES = 64 * 1024
MAX_CARRIED_DEPTH = 24
"""Less than the envelope's limit, so that a carried value may be put into a map or two."""

_ITEM_BYTES = 9
"""The most that a number, or the start of a text, list or map, takes in msgpack."""
_MIN_INT, _MAX_INT = -(2**63), 2**64 - 1
_CYCLE = "(contains itself)"
_LEFT_OUT = "…"


def carry(value: object, max_bytes: int = MAX_CARRIED_BYTES) -> Any:
    """Return `value` made of None, bool, int, float, str, list and dict only.

    Models, dataclasses and mappings become maps, sequences and sets lists, enumerations their
    value, dates ISO 8601, and anything else its `str`. A value that is too large, too deep or
    contains itself is cut, and a mark stands there; about `max_bytes` are kept in all.
    """
    return _Carrier(max_bytes).carry(value, 1)


def carry_text(text: object, max_bytes: int = MAX_TEXT_BYTES) -> str:
    """Return `str(text)` as valid UTF-8, cut after `max_bytes`."""
    try:
        shown = text.isoformat() if isinstance(text, date | time) else str(text)
    except Exception:  # noqa: BLE001 - a stranger's __str__ may raise anything
        shown = f"({type(text).__name__} without a readable text)"
    return _cut(shown, max_bytes)


class _Carrier:
    def __init__(self, max_bytes: int) -> None:
        self._bytes_left = max_bytes
        self._path: set[int] = set()
        """Ids of the containers around the current value; one that comes again contains itself."""

    def carry(self, value: object, depth: int) -> Any:
        self._bytes_left -= _ITEM_BYTES
        if isinstance(value, enum.Enum):
            return self.carry(value.value, depth)
        # Before int, of which bool is a subclass.
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int):
            # The base class's method, because a subclass may not pack.
            return int.__int__(value) if _MIN_INT <= value <= _MAX_INT else self._text(value)
        if isinstance(value, float):
            return float.__float__(value) if math.isfinite(value) else self._text(value)
        if isinstance(value, str):
            return self._text(str.__str__(value))
        if isinstance(value, bytes | bytearray):
            return self._text(value[:MAX_TEXT_BYTES].decode(errors="backslashreplace"))
        return self._container(value, depth)

    def _container(self, value: object, depth: int) -> Any:
        parts = _parts(value)
        if parts is None:
            return self._text(value)
        if id(value) in self._path:
            return _CYCLE
        if depth > MAX_CARRIED_DEPTH:
            return f"({type(value).__name__} nested too deep)"
        self._path.add(id(value))
        try:
            if isinstance(parts, dict):
                return self._map(parts, depth)
            return self._list(parts, depth)
        finally:
            self._path.discard(id(value))

    def _map(self, fields: dict[Any, Any], depth: int) -> dict[str, Any]:
        carried: dict[str, Any] = {}
        for index, (key, item) in enumerate(fields.items()):
            # Checked here and not only in `carry`: keys take room as well.
            if self._bytes_left <= 0:
                carried[_LEFT_OUT] = f"{len(fields) - index} more"
                break
            carried[self._key(key)] = self.carry(item, depth + 1)
        return carried

    def _key(self, key: object) -> str:
        self._bytes_left -= _ITEM_BYTES
        return self._text(key.value if isinstance(key, enum.Enum) else key)

    def _list(self, items: list[Any], depth: int) -> list[Any]:
        carried: list[Any] = []
        for index, item in enumerate(items):
            if self._bytes_left <= 0:
                carried.append(f"{_LEFT_OUT} {len(items) - index} more")
                break
            carried.append(self.carry(item, depth + 1))
        return carried

    def _text(self, value: object) -> str:
        text = carry_text(value, max(0, min(self._bytes_left, MAX_TEXT_BYTES)))
        self._bytes_left -= len(text.encode())
        return text


def _parts(value: object) -> dict[Any, Any] | list[Any] | None:
    """Return the content of a container, None for any other value."""
    try:
        if isinstance(value, BaseModel):
            return dict(value)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
        if isinstance(value, Mapping):
            return dict(value)
        if isinstance(value, Set):
            return _ordered(value)
        if isinstance(value, list | tuple):
            return list(value)
    except Exception:  # noqa: BLE001 - a stranger's container may raise anything when read
        return None
    return None


def _ordered(items: Iterable[Any]) -> list[Any]:
    listed = list(items)
    try:
        return sorted(listed)
    except TypeError:
        return listed


def _cut(text: str, max_bytes: int) -> str:
    encoded = text[: max_bytes + 1].encode(errors="backslashreplace")
    if len(encoded) <= max_bytes and len(text) <= max_bytes:
        return encoded.decode()
    return encoded[:max_bytes].decode(errors="ignore") + _LEFT_OUT
