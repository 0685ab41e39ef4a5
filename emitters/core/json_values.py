"""`json_value`: values of common Python types in the form in which an event carries them.

| type | form |
|---|---|
| pydantic model, dataclass | a map of its fields |
| mapping with text as keys | a map |
| list, tuple, deque, set, view of a dict, sequence, generator | a list; of a set, in any order |
| datetime, date, time, timedelta | text in ISO 8601 |
| UUID, Decimal, Path, IP address, URL | text |
| Enum | the form of its value |
| bytes, bytearray, memoryview | text in base64 with `-` and `_` (RFC 4648, section 5) |
| scalar or array of numpy | a number, or lists of numbers |

Other types are refused, unless `default` turns them into one of these. Unlike `carry`, it cuts
nothing.
"""

from collections.abc import Callable, Mapping, Sequence, Set, ValuesView
from typing import Any

from pydantic_core import to_jsonable_python

from relay.wire.envelope import MAX_DEPTH
from relay.wire.errors import InvalidEnvelope, TooDeep

Default = Callable[[Any], Any]
"""Returns a value of a type that can be carried, or raises."""


def json_value(value: object, default: Default | None = None, path: str = "data") -> Any:
    """Return `value` made of None, bool, int, float, str, list and dict only.

    Raises `InvalidEnvelope`, which names the path of a value that has no such form, or `TooDeep`.
    """
    return _Converter(default).convert(value, path, 1)


class _Converter:
    def __init__(self, default: Default | None) -> None:
        self._default = default

    def convert(self, value: object, path: str, depth: int) -> Any:
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if depth > MAX_DEPTH:
            raise TooDeep("data", f"nested deeper than {MAX_DEPTH}")
        if isinstance(value, bytes | bytearray | memoryview):
            return self._by_pydantic(bytes(value), path)
        if isinstance(value, Mapping):
            return {
                _key(key, path): self.convert(item, f"{path}.{key}", depth + 1)
                for key, item in value.items()
            }
        if isinstance(value, Sequence | Set | ValuesView):
            return [
                self.convert(item, f"{path}[{index}]", depth + 1)
                for index, item in enumerate(value)
            ]
        return self._by_pydantic(value, path)

    def _by_pydantic(self, value: object, path: str) -> Any:
        try:
            return to_jsonable_python(
                value, bytes_mode="base64", inf_nan_mode="constants", fallback=self._fall_back
            )
        except Exception as error:
            problem = f"a value of type {type(value).__name__} cannot be carried: {error}"
            raise InvalidEnvelope(path, problem) from error

    def _fall_back(self, value: Any) -> Any:
        # Without an import: who has no numpy has none of its values.
        if type(value).__module__ == "numpy":
            return value.tolist()
        if isinstance(value, Mapping):
            return dict(value)
        if hasattr(value, "__fspath__"):
            return value.__fspath__()
        if self._default is None:
            raise TypeError(f"{type(value).__name__} has no JSON form; `default` can give it one")
        return self._default(value)


def _key(key: object, path: str) -> str:
    if not isinstance(key, str):
        raise InvalidEnvelope(path, f"the key {str(key)[:40]!r} must be text")
    return key
