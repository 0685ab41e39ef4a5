"""How deeply the JSON of a client's message may be nested."""

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core.protocol.json_text import MAX_DEPTH, NestedTooDeep, is_deeper, parse_json

values = st.recursive(
    st.none() | st.integers(0, 9) | st.text('[]{}"\\\\,a', max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text('[]{}"\\\\', max_size=3), inner, max_size=3)
    ),
    max_leaves=12,
)


def depth(value: object) -> int:
    """Return how many arrays and objects are in each other."""
    match value:
        case list():
            return 1 + max(map(depth, value), default=0)
        case dict():
            return 1 + max(map(depth, value.values()), default=0)
        case _:
            return 0


@given(values, st.integers(0, 6), st.sampled_from([None, 1]))
def test_it_is_deeper_than_the_limit_or_not(value: object, limit: int, indent: int | None) -> None:
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    assert is_deeper(text, limit) is (depth(value) > limit)


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")])
def test_the_limit_counts_arrays_and_objects_alike(opening: str, closing: str) -> None:
    levels = opening.count("[") + opening.count("{")
    text = opening * 8 + "1" + closing * 8
    assert parse_json(text, 8 * levels) == orjson.loads(text)
    with pytest.raises(NestedTooDeep) as refused:
        parse_json(text, 8 * levels - 1)
    assert refused.value.message == orjson.loads(text)


@pytest.mark.parametrize("text", ['"["', "1"])
def test_what_has_no_level_is_not_deeper_than_none(text: str) -> None:
    assert parse_json(text, 0) == json.loads(text)


def test_many_side_by_side_are_not_deep() -> None:
    text = json.dumps({"a": [[], {}] * 1_000})
    assert parse_json(text, 3) == json.loads(text)


@pytest.mark.parametrize(
    "text", ["", "[", "[}", '"[', "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1)]
)
def test_what_is_no_json_is_not_deep_either(text: str) -> None:
    with pytest.raises(orjson.JSONDecodeError):
        parse_json(text, 4)
