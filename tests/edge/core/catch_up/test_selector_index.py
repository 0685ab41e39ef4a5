"""The index finds what a look at every selector finds."""

from hypothesis import given
from hypothesis import strategies as st

from edge.core.catch_up.selector_index import SelectorIndex
from relay.wire.topics import Pattern, parse_pattern

names = st.text("ab", max_size=3)
patterns = st.builds(
    lambda name, exact: Pattern(f"event:{name}", exact=exact), names, st.booleans()
) | st.just(parse_pattern("*"))


@given(st.lists(st.lists(patterns, max_size=3).map(tuple), max_size=8), names)
def test_an_item_is_found_once_exactly_if_one_of_its_selectors_matches(
    selectors: list[tuple[Pattern, ...]], name: str
) -> None:
    topic = f"event:{name}"
    index = SelectorIndex(enumerate(selectors))
    expected = [
        number for number, some in enumerate(selectors) if any(each.matches(topic) for each in some)
    ]
    assert sorted(index.matching(topic)) == expected
