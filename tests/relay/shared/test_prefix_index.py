"""`PrefixIndex` against a plain dict and `startswith`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.shared.prefix_index import PrefixIndex

prefixes = st.text("ab:", max_size=4)
changes = st.lists(st.tuples(st.booleans(), prefixes, st.integers()), max_size=30)


@given(changes, st.text("ab:", max_size=8))
def test_it_is_a_dict_that_finds_the_prefixes_of_a_topic_shortest_first(
    changes: list[tuple[bool, str, int]], topic: str
) -> None:
    subject: PrefixIndex[str, int] = PrefixIndex()
    model: dict[str, int] = {}
    for is_set, prefix, value in changes:
        if is_set:
            subject.set(prefix, value)
            model[prefix] = value
        else:
            subject.discard(prefix)
            model.pop(prefix, None)
    expected = sorted((each for each in model if topic.startswith(each)), key=len)
    assert list(subject.matching(topic)) == [(each, model[each]) for each in expected]
    assert len(subject) == len(model)
    assert (topic in subject) == (topic in model)
    assert subject.get(topic) == model.get(topic)


@pytest.mark.parametrize("topic", [b"", b"a", b"ab"])
def test_bytes_and_none_as_values_are_found_as_well(topic: bytes) -> None:
    subject: PrefixIndex[bytes, None] = PrefixIndex()
    subject.set(topic, None)
    assert list(subject.matching(b"ab")) == [(topic, None)]


def test_an_iteration_goes_on_while_the_index_changes() -> None:
    subject: PrefixIndex[str, int] = PrefixIndex()
    for number, prefix in enumerate(("", "a", "ab")):
        subject.set(prefix, number)
    matching = subject.matching("abc")
    assert next(matching) == ("", 0)
    subject.discard("a")
    subject.set("abc", 3)
    assert list(matching) == [("ab", 2)]
