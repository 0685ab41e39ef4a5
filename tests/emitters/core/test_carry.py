"""Any arguments and results of a function can be carried in an event."""

import dataclasses
import enum
import itertools
import json
import re
import sys
import weakref
from array import array
from asyncio import CancelledError
from collections import Counter, OrderedDict, UserList, UserString, deque, namedtuple
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
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

from emitters.core.carry import MAX_CARRIED_BYTES, carry
from emitters.core.readable import type_name
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
        (False, False),
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
        (deque([1]), [1]),
        (range(3), [0, 1, 2]),
        (array("d", [1.5]), [1.5]),
        (memoryview(b"ab"), [97, 98]),
        (UserList(["a"]), ["a"]),
        (UserString("abc"), "abc"),
        ({"a": 1}.keys(), ["a"]),
        ({"a": 1}.values(), [1]),
        ({"a": 1}.items(), [["a", 1]]),
        (Counter("aab"), {"a": 2, "b": 1}),
        (10**5000, "(integer of 16610 bits)"),
        (Unreadable(), "(Unreadable without a readable text)"),
    ],
    ids=type_name,
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


@pytest.mark.parametrize(
    ("value", "carried"),
    [
        ({1: "a", "1": "b"}, {"1": "a", "1 (2)": "b"}),
        (
            {1: "a", "1": "b", "1 (2)": "c", 1.5: "d"},
            {"1": "a", "1 (2)": "b", "1 (2) (2)": "c", "1.5": "d"},
        ),
        (
            {Colour.RED: "a", Colour.RED.value: "b"},
            {Colour.RED.value: "a", f"{Colour.RED.value} (2)": "b"},
        ),
    ],
)
def test_no_entry_of_a_map_replaces_another(value: object, carried: object) -> None:
    assert carry(value) == carried


def test_keys_that_are_equal_after_their_cut_stay_apart() -> None:
    keys = ["k" * 100_000 + end for end in "abc"]
    carried = carry(dict.fromkeys(keys, 1))
    assert len(carried) == 3
    assert list(carried)[1] == f"{next(iter(carried))} (2)"


def test_the_mark_of_what_is_left_out_replaces_no_entry() -> None:
    carried = carry({"…": "mine"} | {str(number): number for number in range(100)}, 200)
    assert carried["…"] == "mine"
    assert re.fullmatch(r"\d+ more", carried["… (2)"])


def test_what_is_left_out_of_a_list_is_counted() -> None:
    carried = carry(list(range(100_000)))
    assert carried[-1] == f"… {100_000 - (len(carried) - 1)} more"


class Dead:
    """The referent of a weak reference that is dead."""


class SaysItIs:
    """A proxy: says that it is of another class, as lazy objects do."""

    def __init__(self, claimed: object) -> None:
        self._claimed = claimed

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        if isinstance(self._claimed, BaseException):
            raise self._claimed
        return self._claimed


class BrokenNumber(int):
    """A number that cannot be compared, as one with a unit."""

    def _refuse(self, *_: object) -> Any:
        raise RuntimeError("no")

    __lt__ = __le__ = __gt__ = __ge__ = __eq__ = __int__ = __bool__ = __index__ = _refuse
    __hash__ = int.__hash__


class BrokenText(str):
    """A text without its methods."""

    def _refuse(self, *_: object) -> Any:
        raise RuntimeError("no")

    __str__ = __len__ = __getitem__ = encode = __iter__ = _refuse  # type: ignore[assignment]


class Pretender(Sequence[Any], Mapping[Any, Any]):
    """A container of which each method does `act`."""

    def __init__(self, act: Callable[[], Any]) -> None:
        self._act = act

    def __iter__(self) -> Any:
        return self._act()

    def __len__(self) -> Any:
        return self._act()

    def __getitem__(self, _key: object) -> Any:
        return self._act()

    def keys(self) -> Any:
        return self._act()

    def items(self) -> Any:
        return self._act()


class EndlessSequence(Sequence[Any]):
    def __init__(self, item: Any) -> None:
        self._item = item

    def __len__(self) -> int:
        return 2**62

    def __getitem__(self, _index: object) -> Any:
        return self._item


class EndlessSet(Set[Any]):
    def __contains__(self, _item: object) -> bool:
        return True

    def __len__(self) -> int:
        raise OverflowError("endless")

    def __iter__(self) -> Iterator[int]:
        return itertools.count()


class EndlessMap(dict[Any, Any]):
    def items(self) -> Any:
        return ((number, self) for number in itertools.count())


class Answers:
    """Its text is the outcome of `act`."""

    def __init__(self, act: Callable[[], Any]) -> None:
        self._act = act

    def __str__(self) -> str:
        return self._act()  # type: ignore[no-any-return]

    __repr__ = __str__

    def __hash__(self) -> int:
        return 1

    def __eq__(self, _other: object) -> bool:
        return self._act()  # type: ignore[no-any-return]


class Moment(datetime):
    def isoformat(self, *_: Any) -> Any:
        return None


class OwnValue(enum.Enum):
    """An enumeration whose member is its own value."""

    SELF = 1

    @property
    def value(self) -> Any:
        return self


def dead_proxy() -> Any:
    return weakref.proxy(Dead())


def raises(error: BaseException) -> Callable[[], Any]:
    def act() -> Any:
        raise error

    return act


def recurse() -> Any:
    return recurse()


ERRORS = (
    RuntimeError("no"), ReferenceError("dead"), RecursionError("deep"), MemoryError(),
    GeneratorExit(), CancelledError(), BaseExceptionGroup("several", [GeneratorExit()]),
)  # fmt: skip
ACTS: tuple[Callable[[], Any], ...] = (
    *map(raises, ERRORS), recurse, lambda: None, lambda: 7, lambda: -1, lambda: BrokenText("x"),
    lambda: "x" * 10**6, lambda: iter(()), itertools.count, lambda: itertools.repeat(("k", "v")),
)  # fmt: skip


def readable(value: object, max_bytes: int = MAX_CARRIED_BYTES) -> Any:
    """Return the carried `value`, which fits an event."""
    carried = carry(value, max_bytes)
    envelope = Envelope("event", {"value": carried, "result": carried}, None, "", 0, "id")
    assert len(pack_envelope(envelope, "event")) <= MAX_ENVELOPE_BYTES
    json.dumps(carried, allow_nan=False).encode()
    return carried


@pytest.mark.parametrize(
    ("value", "carried"),
    [
        (dead_proxy(), "(ProxyType without a readable text)"),
        (SaysItIs(ReferenceError()), "(SaysItIs without a readable text)"),
        (BrokenNumber(7), 7),
        (BrokenText("abc"), "abc"),
        ({BrokenText("abc"): BrokenNumber(1)}, {"abc": 1}),
        ([1, dead_proxy()], [1, "(ProxyType without a readable text)"]),
        (Answers(lambda: None), "(Answers without a readable text)"),
        (Moment(2026, 1, 1), "(Moment without a readable text)"),
        (OwnValue.SELF, "(OwnValue nested too deep)"),
    ],
    ids=type_name,
)
def test_values_that_cannot_be_read(value: object, carried: object) -> None:
    assert readable(value) == carried


@pytest.mark.parametrize("claimed", [bool, int, float, str, bytes, dict, list, datetime, BaseModel])
def test_an_object_that_claims_another_class_becomes_a_text(claimed: object) -> None:
    assert isinstance(readable(SaysItIs(claimed)), str)


@pytest.mark.parametrize("act", ACTS)
def test_values_whose_methods_do_anything(act: Callable[[], Any]) -> None:
    readable([Answers(act), {Answers(act): 1}, {Answers(act), 2}, Pretender(act), SaysItIs(act)])


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_the_end_of_the_process_is_not_swallowed(stop: type[BaseException]) -> None:
    """A signal handler may raise it while a value is read."""
    for value in (Answers(raises(stop())), Pretender(raises(stop())), {Answers(raises(stop())): 1}):
        with pytest.raises(stop):
            carry(value)


@pytest.mark.parametrize(
    ("value", "end"),
    [
        (range(10**15), "more"),
        (range(2**70), "more"),
        (EndlessSequence(1), "more"),
        (EndlessSequence("x" * 1000), "more"),
        (EndlessSet(), "more"),
        ([EndlessSequence(EndlessSequence(0))], "more"),
    ],
    ids=type_name,
)
def test_of_endless_values_the_first_items_are_carried(value: object, end: str) -> None:
    carried = readable(value)
    assert len(msgpack.packb(carried)) < 1.1 * MAX_CARRIED_BYTES
    assert end in json.dumps(carried)


def test_an_endless_map_that_contains_itself() -> None:
    carried = readable(EndlessMap(a=1))
    assert carried["0"] == "(contains itself)"


def at_depth(depth: int, act: Callable[[], Any]) -> Any:
    return at_depth(depth - 1, act) if depth else act()


def test_where_the_stack_is_used_up_a_mark_is_carried() -> None:
    deepest, results = sys.getrecursionlimit(), []
    for depth in range(deepest - 300, deepest):
        with suppress(RecursionError):  # Not even `carry` could be called.
            results.append(at_depth(depth, lambda: carry([[1]])))
    assert results[0] == [[1]]
    assert "(list that cannot be read)" in results
    for each in results:
        assert each, "nothing is lost without a mark"
        check_value(each, "data")


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
    | st.datetimes() | st.decimals() | st.complex_numbers() | st.uuids() | st.timedeltas()
    | st.builds(range, st.integers(), st.integers())
    | st.builds(BrokenNumber, st.integers()) | st.builds(BrokenText, st.text())
    | st.builds(SaysItIs, st.sampled_from([*ERRORS, bool, int, float, str, list, dict, Colour]))
    | st.builds(Answers, st.sampled_from(ACTS)) | st.builds(Pretender, st.sampled_from(ACTS))
    | st.builds(dead_proxy) | st.builds(EndlessSet) | st.sampled_from([int, Colour, Level.HIGH]),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner)
    | st.tuples(inner, inner) | st.builds(deque, st.lists(inner))
    | st.builds(EndlessSequence, inner) | st.dictionaries(st.text(), inner).map(dict.values)
    | st.builds(UserList, st.lists(inner)) | st.builds(MappingProxyType, st.dictionaries(
        st.text(), inner)),
)  # fmt: skip


@given(ANYTHING)
def test_anything_can_be_emitted(value: object) -> None:
    readable(value, 4096)  # Or endless values would take most of the test's time.
