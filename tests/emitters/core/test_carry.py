"""Any arguments and results of a function can be carried in an event."""

import dataclasses
import enum
import json
from collections import OrderedDict, deque, namedtuple
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any
from uuid import UUID

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr

from emitters.core.carry import MAX_CARRIED_BYTES, MAX_TEXT_BYTES, carry, carry_text
from relay.wire.envelope import MAX_ENVELOPE_BYTES, Envelope, check_value, pack_envelope


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


@dataclasses.dataclass
class Player:
    name: str
    home: Path


class Server(BaseModel):
    name: str
    password: SecretStr
    tags: set[str]


class Unreadable:
    def __str__(self) -> str:
        raise RuntimeError("no")


Point = namedtuple("Point", "x y")


@pytest.mark.parametrize(
    ("value", "carried"),
    [
        (None, None),
        (True, True),
        (7, 7),
        (2.5, 2.5),
        ("text", "text"),
        (2**70, str(2**70)),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (b"abc", "abc"),
        (b"\xff", "\\xff"),
        ("\udcff", "\\udcff"),
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "2026-01-02T03:04:05+00:00"),
        (timedelta(seconds=61), "0:01:01"),
        (Decimal("1.50"), "1.50"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Path("a/b"), "a/b"),
        (Colour.RED, "red"),
        (Level.HIGH, 3),
        ({3, 1, 2}, [1, 2, 3]),
        ((1, "a"), [1, "a"]),
        (Point(1, 2), [1, 2]),
        (Player("Alex", Path("x")), {"name": "Alex", "home": "x"}),
        (
            Server(name="s", password=SecretStr("secret"), tags={"b", "a"}),
            {"name": "s", "password": "**********", "tags": ["a", "b"]},
        ),
        (OrderedDict(a={1: b"x", None: 2, Colour.RED: 3}), {"a": {"1": "x", "None": 2, "red": 3}}),
        (MappingProxyType({"a": 1}), {"a": 1}),
        (ValueError("broken"), "broken"),
        (deque([1]), "deque([1])"),
        (Unreadable(), "(Unreadable without a readable text)"),
    ],
)
def test_values(value: object, carried: object) -> None:
    result = carry(value)
    assert result == carried
    assert type(result) is type(carried)
    check_value(result, "data")


def test_a_value_that_contains_itself_is_cut_there() -> None:
    value: dict[str, Any] = {"name": "a"}
    value["self"] = [value]
    assert carry(value) == {"name": "a", "self": ["(contains itself)"]}


def test_the_same_value_twice_is_no_cycle() -> None:
    shared = [1]
    assert carry([shared, shared]) == [[1], [1]]


def test_deep_values_can_still_be_put_into_an_event() -> None:
    value: Any = "bottom"
    for _ in range(10_000):
        value = [value]
    carried = carry(value)
    check_value({"arguments": {"value": carried}}, "data")
    assert "nested too deep" in json.dumps(carried)


@pytest.mark.parametrize(
    "value",
    ["x" * 5_000_000, ["y" * 100_000] * 100, list(range(1_000_000)), {"k" * 99_999: b"z" * 10**6}],
)
def test_large_values_are_cut_and_say_so(value: object) -> None:
    carried = carry(value)
    assert len(msgpack.packb(carried)) < 1.1 * MAX_CARRIED_BYTES
    assert "…" in json.dumps(carried, ensure_ascii=False)


def test_what_is_left_out_of_a_list_is_counted() -> None:
    carried = carry(list(range(100_000)))
    assert carried[-1] == f"… {100_000 - (len(carried) - 1)} more"


def test_text_is_cut_between_characters() -> None:
    text = carry_text("é" * MAX_TEXT_BYTES)
    assert text == "é" * (MAX_TEXT_BYTES // 2) + "…"


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
    | st.datetimes() | st.decimals() | st.complex_numbers(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner)
    | st.tuples(inner, inner),
)  # fmt: skip


@given(ANYTHING)
def test_anything_can_be_emitted(value: object) -> None:
    carried = carry(value)
    envelope = Envelope("event", {"value": carried, "result": carried}, None, "", 0, "id")
    assert len(pack_envelope(envelope, "event")) <= MAX_ENVELOPE_BYTES
    json.dumps(carried, allow_nan=False).encode()
