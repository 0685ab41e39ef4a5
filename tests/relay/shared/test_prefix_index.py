"""`PrefixSet` against a plain set and `startswith`."""

from hypothesis import given
from hypothesis import strategies as st

from relay.shared.prefix_index import PrefixSet

prefixes = st.text("ab:", max_size=4).map(str.encode)
changes = st.lists(st.tuples(st.booleans(), prefixes), max_size=30)


@given(changes, st.text("ab:", max_size=8).map(str.encode))
def test_matching_is_what_starts_with_it_shortest_first(
    changes: list[tuple[bool, bytes]], topic: bytes
) -> None:
    subject, model = PrefixSet(), set()
    for added, prefix in changes:
        if added:
            subject.add(prefix)
            model.add(prefix)
        else:
            subject.discard(prefix)
            model.discard(prefix)
    expected = sorted((prefix for prefix in model if topic.startswith(prefix)), key=len)
    assert list(subject.matching(topic)) == expected
    assert len(subject) == len(model)
    assert (topic in subject) == (topic in model)
