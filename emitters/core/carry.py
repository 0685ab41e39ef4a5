"""`carry` turns any Python value into one that an event can carry.

`Emitter.emit` refuses values that msgpack and JSON cannot carry. Arguments and results of decorated
functions and tasks may be anything, so they go through `carry` first: no value makes it raise, and
its result always passes `relay.wire.envelope.check_value`. A value can run code of its own when it
is read. Whatever that code raises makes the value a text, except `KeyboardInterrupt` and
`SystemExit`, by which a signal handler ends the process (`emitters.core.readable.STOPS`).
"""

import dataclasses
import enum
import math
from collections import Counter, UserString
from collections.abc import Container, Iterable, Mapping, Sequence, Set, ValuesView
from itertools import islice
from typing import Any, NamedTuple

from pydantic import BaseModel

from emitters.core.readable import CUT_OFF, MAX_TEXT_BYTES, STOPS, carry_text, type_name
from relay.wire.envelope import MAX_SAFE_INT

MAX_CARRIED_BYTES = 256 * 1024
MAX_CARRIED_DEPTH = 24
"""Less than the envelope's limit, so that a carried value may be put into a map or two."""

_ITEM_BYTES = 9
"""The most that a number, or the start of a text, list or map, takes in msgpack."""
_LEAST_KEY_BYTES = _ITEM_BYTES + 4
"""With room for a character: a key that is cut is never the mark alone, which has its own entry."""
_MAX_SHOWN_BITS = 4096
"""Python refuses to write greater numbers in decimal."""
_CYCLE = "(contains itself)"


def carry(value: object, max_bytes: int = MAX_CARRIED_BYTES) -> Any:
    """Return `value` made of None, bool, int, float, str, list and dict only.

    Models, dataclasses and mappings become maps; sequences, sets and the views of a dict become
    lists, enumerations their value, dates ISO 8601, bytes and anything else a text. Keys that are
    equal as text get a number: `{1: "a", "1": "b"}` becomes `{"1": "a", "1 (2)": "b"}`. A value
    that is too large, too deep or contains itself is cut, and a mark stands there; about
    `max_bytes` are kept in all, and not many more items are read. Raises nothing but `STOPS`.
    """
    try:
        return _Carrier(max_bytes).carry(value, 1)
    except STOPS:
        raise
    except BaseException:  # noqa: BLE001 - the stack or the memory is used up
        return f"({type_name(value)} that cannot be read)"


class _Parts(NamedTuple):
    """The first items of a container, one more than there is room for."""

    items: list[Any]
    """Values; of a map, pairs of key and value."""
    is_map: bool
    size: int | None
    """The number of all items, None if the container does not say it."""


class _Carrier:
    def __init__(self, max_bytes: int) -> None:
        self._bytes_left = max_bytes
        self._path: set[int] = set()
        """Ids of the containers around the current value; one that comes again contains itself."""

    def carry(self, value: object, depth: int) -> Any:
        self._bytes_left -= _ITEM_BYTES
        try:
            return self._carry(value, depth)
        except STOPS:
            raise
        except BaseException:  # noqa: BLE001 - a stranger's value may raise anything when read
            return self._text(value)

    def _carry(self, value: object, depth: int) -> Any:
        # By identity: a proxy may say that its class is `bool` and be none.
        if value is None or value is True or value is False:
            return value
        if isinstance(value, enum.Enum):
            return self._nested_too_deep(value, depth) or self.carry(value.value, depth + 1)
        # The methods of the base classes, because those of a subclass may do anything.
        if isinstance(value, int):
            return self._integer(int.__int__(value))
        if isinstance(value, float):
            number = float.__float__(value)
            return number if math.isfinite(number) else self._text(number)
        if isinstance(value, str):
            return self._text(str.__str__(value))
        if isinstance(value, bytes | bytearray):
            start = bytes(memoryview(value)[:MAX_TEXT_BYTES])
            return self._text(start.decode(errors="backslashreplace"))
        return self._container(value, depth)

    def _integer(self, number: int) -> Any:
        if -MAX_SAFE_INT <= number <= MAX_SAFE_INT:
            return number
        bits = number.bit_length()
        return self._text(number if bits <= _MAX_SHOWN_BITS else f"(integer of {bits} bits)")

    def _container(self, value: object, depth: int) -> Any:
        if id(value) in self._path:
            return _CYCLE
        parts = _parts(value, max(0, self._bytes_left) // _ITEM_BYTES + 1)
        if parts is None:
            return self._text(value)
        if mark := self._nested_too_deep(value, depth):
            return mark
        self._path.add(id(value))
        try:
            return self._map(parts, depth) if parts.is_map else self._list(parts, depth)
        finally:
            self._path.discard(id(value))

    def _nested_too_deep(self, value: object, depth: int) -> str | None:
        return f"({type_name(value)} nested too deep)" if depth > MAX_CARRIED_DEPTH else None

    def _map(self, parts: _Parts, depth: int) -> dict[str, Any]:
        carried: dict[str, Any] = {}
        numbers: Counter[str] = Counter()
        for index, (key, item) in enumerate(parts.items):
            # Checked here and not only in `carry`: keys take room as well.
            if self._bytes_left < _LEAST_KEY_BYTES:
                carried[_unused(CUT_OFF, carried, numbers)] = _left_out(parts, index)
                break
            # The key first: it is to have room, however large its value is.
            name = _unused(self._key(key), carried, numbers)
            carried[name] = self.carry(item, depth + 1)
        return carried

    def _key(self, key: object) -> str:
        self._bytes_left -= _ITEM_BYTES
        is_member = issubclass(type(key), enum.Enum)
        return self._text(key.value if is_member else key)  # type: ignore[attr-defined]

    def _list(self, parts: _Parts, depth: int) -> list[Any]:
        carried: list[Any] = []
        for index, item in enumerate(parts.items):
            if self._bytes_left <= 0:
                carried.append(f"{CUT_OFF} {_left_out(parts, index)}")
                break
            carried.append(self.carry(item, depth + 1))
        return carried

    def _text(self, value: object) -> str:
        text = carry_text(value, max(0, min(self._bytes_left, MAX_TEXT_BYTES)))
        self._bytes_left -= len(text.encode())
        return text


def _unused(name: str, names: Container[str], numbers: Counter[str]) -> str:
    """Return `name`, with a number if it is among `names`: 1 and "1" are the same as text.

    `numbers` holds the last number of each name, for the next search to start there.
    """
    unused = name
    while unused in names:
        numbers[name] += 1
        unused = f"{name} ({numbers[name] + 1})"
    return unused


def _parts(value: object, room: int) -> _Parts | None:
    """Return the content of a container, None for any other value.

    Reads at most `room + 1` items, because a container may be endless.
    """
    # A sequence whose items are of its own type.
    if isinstance(value, UserString):
        return None
    if isinstance(value, BaseModel):
        return _Parts(list(dict(value).items()), True, None)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [(each.name, getattr(value, each.name)) for each in dataclasses.fields(value)]
        return _Parts(fields, True, None)
    if isinstance(value, Mapping):
        return _Parts(_first(value.items(), room), True, _size(value))
    if isinstance(value, Set):
        return _Parts(_ordered(_first(value, room)), False, _size(value))
    if isinstance(value, Sequence | ValuesView):
        return _Parts(_first(value, room), False, _size(value))
    return None


def _first(items: Iterable[Any], room: int) -> list[Any]:
    return list(islice(items, room + 1))


def _size(container: Any) -> int | None:
    try:
        return len(container)
    except STOPS:
        raise
    except BaseException:  # noqa: BLE001 - the length only serves to say how much is left out
        return None


def _left_out(parts: _Parts, index: int) -> str:
    return "more" if parts.size is None else f"{parts.size - index} more"


def _ordered(items: list[Any]) -> list[Any]:
    try:
        return sorted(items)
    except STOPS:
        raise
    except BaseException:  # noqa: BLE001 - items of different types have no order
        return items
