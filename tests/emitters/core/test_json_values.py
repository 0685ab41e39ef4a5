"""Values of common types are carried in the documented form; others are refused by their path."""

import dataclasses
import datetime
import decimal
import enum
import ipaddress
import pathlib
import uuid
from collections import UserDict, deque
from typing import Any

import numpy
import pytest
from pydantic import BaseModel

from emitters.core.json_values import json_value
from relay.wire.envelope import MAX_DEPTH, check_value
from relay.wire.errors import InvalidEnvelope, TooDeep

UTC = datetime.UTC


class Order(BaseModel):
    number: int
    at: datetime.datetime


@dataclasses.dataclass
class Point:
    x: int
    marks: set[str]


class Colour(enum.Enum):
    RED = "red"
    PAIR = (1, 2)


class Level(enum.IntEnum):
    HIGH = 3


FORMS: list[tuple[Any, Any]] = [
    (
        Order(number=1, at=datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        {"number": 1, "at": "2026-01-02T03:04:05Z"},
    ),
    (Point(1, {"a"}), {"x": 1, "marks": ["a"]}),
    (UserDict(a=(1, 2)), {"a": [1, 2]}),
    (deque([1, 2]), [1, 2]),
    (frozenset([1]), [1]),
    (range(3), [0, 1, 2]),
    ({"a": 1}.values(), [1]),
    ({"a": 1}.keys(), ["a"]),
    ((n for n in range(2)), [0, 1]),
    (datetime.datetime(2026, 1, 2, 3, 4), "2026-01-02T03:04:00"),
    (datetime.date(2026, 1, 2), "2026-01-02"),
    (datetime.time(1, 2), "01:02:00"),
    (datetime.timedelta(seconds=90.5), "PT1M30.5S"),
    (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (decimal.Decimal("1.10"), "1.10"),
    (pathlib.PurePosixPath("/a/b"), "/a/b"),
    (ipaddress.ip_address("::1"), "::1"),
    (Colour.RED, "red"),
    (Colour.PAIR, [1, 2]),
    (Level.HIGH, 3),
    (b"\xff\xfe", "__4="),
    (bytearray(b"ab"), "YWI="),
    (memoryview(b"ab"), "YWI="),
    (numpy.int64(3), 3),
    (numpy.float32(0.5), 0.5),
    (numpy.bool_(True), True),
    (numpy.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
]


@pytest.mark.parametrize(("value", "form"), FORMS, ids=[type(value).__name__ for value, _ in FORMS])
def test_each_type_has_its_form_at_any_depth(value: Any, form: Any) -> None:
    is_spent = hasattr(value, "send")
    assert json_value({"a": [value]}) == {"a": [form]}
    if not is_spent:
        found = json_value(value)
        assert found == form
        check_value(found, "data")


def test_plain_values_stay_as_they_are() -> None:
    plain: list[Any] = [None, True, 1, 1.5, "text", [], {}, {"a": [{"b": None}]}]
    assert json_value(plain) == plain


def test_a_value_without_a_form_is_named_by_its_path() -> None:
    with pytest.raises(InvalidEnvelope) as refused:
        json_value({"players": ["a", object()]})
    assert refused.value.field == "data.players[1]"
    assert "object has no JSON form; `default` can give it one" in str(refused.value)


def test_a_model_that_cannot_be_read_is_named_by_its_path() -> None:
    class Raw(BaseModel):
        raw: bytes

    with pytest.raises(InvalidEnvelope) as refused:
        json_value([Raw(raw=b"\xff")])
    assert refused.value.field == "data[0]"


def test_default_gives_a_form_of_ones_own() -> None:
    def default(value: Any) -> Any:
        if isinstance(value, complex):
            return {"re": value.real, "at": datetime.date(2026, 1, 2)}
        raise TypeError(f"nothing for {value!r}")

    class Odd:
        value = 1j

    assert json_value([slice(1)], lambda value: str(value)) == ["slice(None, 1, None)"]
    with pytest.raises(InvalidEnvelope, match="nothing for"):
        json_value({"a": Odd()}, default)


def test_keys_must_be_text() -> None:
    """1 and "1" would be the same key."""
    with pytest.raises(InvalidEnvelope, match="the key '1' must be text") as refused:
        json_value({"a": {1: "b"}})
    assert refused.value.field == "data.a"


def test_a_value_that_contains_itself_is_too_deep() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(TooDeep, match=str(MAX_DEPTH)):
        json_value(endless)
