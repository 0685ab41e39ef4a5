"""Any number of wanted topics is covered by a few subscriptions, and no value is missed."""

from collections import Counter
from contextlib import ExitStack
from unittest.mock import patch

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from relay.shared import covering_prefixes
from relay.shared.covering_prefixes import MAX_KINDS, MAX_PREFIXES, CoveringPrefixes, Routes
from relay.wire.demand import FILTERED_PREFIX

HINT = FILTERED_PREFIX


def topics(kind: str, count: int) -> list[bytes]:
    return [f"{kind}:{number}".encode() for number in range(count)]


def test_a_few_topics_are_subscribed_to_one_by_one() -> None:
    prefixes = CoveringPrefixes()
    for topic in topics("live", MAX_PREFIXES):
        prefixes.add(topic)
    assert prefixes.cover == set(topics("live", MAX_PREFIXES))


def test_many_topics_are_covered_by_their_kind_until_half_of_them_is_left() -> None:
    prefixes = CoveringPrefixes()
    many = topics("live", 10_000)
    prefixes.add(b"other:a")
    for topic in many:
        prefixes.add(topic)
    assert prefixes.cover == {b"live:", b"other:a"}
    while len(many) > MAX_PREFIXES // 2:
        assert prefixes.cover == {b"live:", b"other:a"}
        prefixes.remove(many.pop())
    assert prefixes.cover == {*many, b"other:a"}


def test_many_kinds_are_covered_by_everything() -> None:
    prefixes = CoveringPrefixes()
    for number in range(MAX_KINDS + 1):
        assert b"" not in prefixes.cover
        prefixes.add(b"kind-%d:a" % number)
    assert prefixes.cover == {b""}
    for number in range(MAX_KINDS // 2):
        prefixes.remove(b"kind-%d:a" % number)
        assert prefixes.cover == {b""}
    prefixes.remove(b"kind-%d:a" % (MAX_KINDS // 2))
    assert len(prefixes.cover) == MAX_KINDS // 2


def test_many_prefixes_without_a_kind_are_covered_by_everything() -> None:
    prefixes = CoveringPrefixes()
    for number in range(MAX_PREFIXES + 1):
        prefixes.add(b"kind-%d" % number)
    assert prefixes.cover == {b""}


def test_what_is_wanted_twice_stays_when_it_is_given_up_once() -> None:
    prefixes = CoveringPrefixes()
    prefixes.add(b"live:a")
    prefixes.add(b"live:a")
    prefixes.remove(b"live:a")
    assert prefixes.cover == {b"live:a"}
    prefixes.remove(b"live:a")
    assert prefixes.cover == set()


def test_the_hint_comes_before_its_prefix_and_goes_after_it() -> None:
    routes = Routes()
    routes.add(b"live:a", exact=True)
    assert routes.take_changes() == [(True, HINT + b"live:a"), (True, b"live:a")]
    assert routes.take_changes() == []
    routes.add(b"live:a", exact=False)
    assert routes.take_changes() == [(False, HINT + b"live:a")]
    routes.remove(b"live:a", exact=False)
    assert routes.take_changes() == [(True, HINT + b"live:a")]
    routes.remove(b"live:a", exact=True)
    assert routes.take_changes() == [(False, b"live:a"), (False, HINT + b"live:a")]


def test_the_covers_tell_a_topic_from_a_prefix() -> None:
    routes = Routes()
    for topic in topics("many", MAX_PREFIXES + 1):
        routes.add(topic, exact=True)
    for prefix, exact in ((b"live:a:", True), (b"live:b", True), (b"live:b", False), (b"", False)):
        routes.add(prefix, exact=exact)
    assert set(routes.covers()) == {
        (b"many:", False),
        (b"live:a:", True),
        (b"live:b", False),
        (b"", False),
    }


def test_without_a_demand_there_is_no_hint() -> None:
    routes = Routes()
    routes.add(b"live:a", exact=True)
    routes.take_changes()
    routes.is_filtered = False
    assert routes.take_changes() == [(False, HINT + b"live:a")]
    routes.is_filtered = True
    assert routes.take_changes() == [(True, HINT + b"live:a")]


FEW_PREFIXES, FEW_KINDS = 4, 3
"""Bounds for the model, which it often passes."""
NAMES = st.integers(0, 2 * FEW_PREFIXES).map(str)
KINDS = st.integers(0, 2 * FEW_KINDS).map("k{}".format)
WANTED = st.one_of(
    st.builds("{}:{}".format, st.just("live"), NAMES),
    st.builds("{}:{}".format, KINDS, st.sampled_from(["", "a"])),
    st.sampled_from(["", "l", "live:", "live:1", "k1"]),
).map(str.encode)


class RoutesModel(RuleBasedStateMachine):
    """A socket whose subscriptions change one by one, as a peer sees them."""

    def __init__(self) -> None:
        super().__init__()
        self.bounds = ExitStack()
        for name, value in (("MAX_PREFIXES", FEW_PREFIXES), ("MAX_KINDS", FEW_KINDS)):
            self.bounds.enter_context(patch.object(covering_prefixes, name, value))
        self.routes = Routes()
        self.wanted: Counter[tuple[bytes, bool]] = Counter()
        self.made: set[bytes] = set()

    @rule(prefixes=st.lists(WANTED, min_size=1, max_size=10), exact=st.booleans())
    def want(self, prefixes: list[bytes], exact: bool) -> None:
        before = set(self.wanted)
        for prefix in prefixes:
            self.routes.add(prefix, exact=exact)
            self.wanted[prefix, exact] += 1
        self.apply(before)

    @rule(first=st.integers(0, 50), count=st.integers(1, 10))
    def give_up(self, first: int, count: int) -> None:
        present = sorted(self.wanted.elements())
        for prefix, exact in present[first % (len(present) + 1) :][:count]:
            self.wanted -= Counter([(prefix, exact)])
            self.routes.remove(prefix, exact=exact)
        self.apply(set(self.wanted))

    @rule(is_filtered=st.booleans())
    def change_the_demand(self, is_filtered: bool) -> None:
        self.routes.is_filtered = is_filtered
        self.apply(set(self.wanted))

    def apply(self, kept: set[tuple[bytes, bool]]) -> None:
        """Make the changes; what is wanted before and after must be subscribed to all the time."""
        for is_made, prefix in self.routes.take_changes():
            assert (prefix in self.made) is not is_made, "made or ended twice"
            if is_made:
                self.made.add(prefix)
            else:
                self.made.remove(prefix)
            for wanted, exact in kept:
                assert self.is_subscribed(wanted)
                assert exact or self.is_plain(wanted)

    def is_subscribed(self, topic: bytes) -> bool:
        return any(topic.startswith(prefix) for prefix in self.made)

    def is_plain(self, topic: bytes) -> bool:
        return any(
            topic.startswith(prefix) and HINT + prefix not in self.made for prefix in self.made
        )

    @invariant()
    def all_that_is_wanted_is_subscribed_to(self) -> None:
        for prefix, exact in self.wanted:
            assert self.is_subscribed(prefix)
            assert exact or self.is_plain(prefix), "every topic within a prefix is meant"

    @invariant()
    def a_topic_that_nobody_wants_is_not_plainly_subscribed_to(self) -> None:
        prefixes = {prefix for prefix, exact in self.wanted if not exact}
        is_wide = len(prefixes) > min(FEW_PREFIXES, FEW_KINDS) // 2
        if self.routes.is_filtered and not is_wide:
            for topic in (b"live:1x", b"other:a"):
                assert self.is_plain(topic) == any(map(topic.startswith, prefixes))

    @invariant()
    def the_subscriptions_are_bounded(self) -> None:
        assert len(self.made) <= 3 * FEW_PREFIXES * FEW_KINDS
        assert not self.wanted or self.made
        assert self.wanted or not self.made

    def teardown(self) -> None:
        for (prefix, exact), count in self.wanted.items():
            for _ in range(count):
                self.routes.remove(prefix, exact=exact)
        self.wanted.clear()
        self.apply(set())
        self.bounds.close()
        assert self.made == set()


TestRoutesModel = RoutesModel.TestCase
TestRoutesModel.settings = settings(max_examples=50, stateful_step_count=20, deadline=None)
