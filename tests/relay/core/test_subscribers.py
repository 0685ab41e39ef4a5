"""Which peers get an event, beside a model that compares every prefix."""

import weakref
from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core import subscribers
from relay.core.subscribers import (
    MAX_PREFIX_BYTES,
    MAX_PREFIX_BYTES_OF_PEER,
    Subscribers,
    TooManySubscriptions,
)

PREFIXES = st.sampled_from([b"", b"e", b"event:", b"event:a", b"event:ab", b"task:", b"room:"])
PEERS = st.integers(1, 3)
NAMES = st.sampled_from(["make", "end", "go", "remove"])
STEPS = st.lists(st.tuples(NAMES, PEERS, PREFIXES), max_size=30)


@given(STEPS, st.sampled_from([b"event:abc", b"event:", b"task:1", b"e", b"x:"]))
def test_an_event_reaches_each_peer_with_a_prefix_of_its_topic_once(
    steps: list[tuple[str, int, bytes]], topic: bytes
) -> None:
    known: Subscribers[tuple[int, int]] = Subscribers()
    model: dict[tuple[int, int], set[bytes]] = defaultdict(set)
    gone: list[bytes] = []
    lives = dict.fromkeys((1, 2, 3), 0)
    for step, number, prefix in steps:
        # A connection that is made again is another peer.
        peer = number, lives[number]
        match step:
            case "make":
                assert known.subscribe(peer, prefix) == (prefix not in model[peer])
                model[peer].add(prefix)
            case "end":
                assert known.unsubscribe(peer, prefix) == (prefix in model[peer])
                model[peer].discard(prefix)
            case "go":
                known.forget(peer)
                gone += model.pop(peer, set())
                lives[number] += 1
            case _:
                removed = known.remove_gone(2)
                assert len(removed) == min(2, len(gone))
                for each in removed:
                    gone.remove(each)
        # Also in between: what is remembered of a topic must not outlive a change.
        found = known.of(topic)
        assert len(found) == len(set(found))
        assert set(found) == {
            each for each, prefixes in model.items() if topic.startswith(tuple(prefixes))
        }
        assert len(known) == sum(map(len, model.values()))
        assert known.has_gone == bool(gone)
    assert sorted(known.remove_gone(1000)) == sorted(gone)
    assert not known.has_gone


def test_a_peer_has_a_bounded_number_of_bytes() -> None:
    known: Subscribers[int] = Subscribers()
    count = MAX_PREFIX_BYTES_OF_PEER // MAX_PREFIX_BYTES
    for number in range(count):
        known.subscribe(1, b"%0*d" % (MAX_PREFIX_BYTES, number))
    with pytest.raises(TooManySubscriptions, match="more than 1048576 bytes"):
        known.subscribe(1, b"x")
    known.unsubscribe(1, b"%0*d" % (MAX_PREFIX_BYTES, 0))
    assert known.subscribe(1, b"x")
    assert known.subscribe(2, b"x"), "others are not concerned"


def test_a_peer_has_a_bounded_number_of_subscriptions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscribers, "MAX_PREFIXES", 2)
    known: Subscribers[int] = Subscribers()
    assert known.subscribe(1, b"a")
    assert known.subscribe(1, b"b")
    assert not known.subscribe(1, b"a")
    with pytest.raises(TooManySubscriptions, match="more than 2 subscriptions"):
        known.subscribe(1, b"c")
    assert known.of(b"c") == ()


def test_all_peers_together_have_a_bounded_number_of_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscribers, "MAX_PREFIX_BYTES_OF_ALL", 4)
    known: Subscribers[int] = Subscribers()
    known.subscribe(1, b"ab")
    known.subscribe(2, b"cd")
    assert known.over() is None
    known.subscribe(3, b"efg")
    assert known.over() == 3
    known.subscribe(2, b"efg")
    assert known.over() == 2, "whoever has most, not whoever came last"
    known.forget(2)
    known.forget(3)
    assert known.over() is None


def test_all_peers_together_have_a_bounded_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscribers, "MAX_PREFIXES_OF_ALL", 3)
    known: Subscribers[int] = Subscribers()
    for prefix in (b"a", b"b", b"c"):
        known.subscribe(1, prefix)
    assert known.over() is None
    known.subscribe(2, b"a")
    assert known.over() == 1
    known.unsubscribe(1, b"a")
    assert known.over() is None


def test_a_longer_prefix_than_any_topic_is_refused() -> None:
    known: Subscribers[int] = Subscribers()
    with pytest.raises(TooManySubscriptions, match="has more than 1024 bytes"):
        known.subscribe(1, b"x" * (MAX_PREFIX_BYTES + 1))


def test_topics_are_remembered_in_a_bounded_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscribers, "MAX_CACHED_TOPICS", 3)
    known: Subscribers[int] = Subscribers()
    known.subscribe(1, b"t")
    for number in range(10):
        assert known.of(b"t%d" % number) == (1,)
    assert len(known._cache) <= 3


def test_shrinking_changes_nothing() -> None:
    known: Subscribers[int] = Subscribers()
    for number in range(5000):
        known.subscribe(1, b"%d" % number)
    known.subscribe(2, b"event:")
    known.forget(1)
    known.shrink()
    assert known.of(b"event:x") == (2,)
    known.forget(2)
    assert known.remove_gone(5001)[-1] == b"event:"


def test_the_subscriptions_of_a_peer_that_has_gone_are_removed_in_pieces() -> None:
    known: Subscribers[int] = Subscribers()
    for number in range(2500):
        known.subscribe(1, b"%d" % number)
    known.subscribe(2, b"1")
    assert set(known.of(b"1")) == {1, 2}
    known.forget(1)
    assert (known.of(b"1"), known.of(b"2"), len(known)) == ((2,), (), 1), "at once"
    removed = [len(known.remove_gone(1000)) for _ in range(4)]
    assert removed == [1000, 1000, 500, 0]
    assert known.of(b"1") == (2,)


class Peer:
    """A peer that may be gone for good."""


@pytest.mark.parametrize("ended", [0, 1, 2])
def test_nothing_keeps_a_peer_that_has_gone(ended: int) -> None:
    known: Subscribers[Peer] = Subscribers()
    peer = Peer()
    for prefix in (b"a", b"b"):
        known.subscribe(peer, prefix)
    for prefix in (b"a", b"b")[:ended]:
        known.unsubscribe(peer, prefix)
    known.of(b"a")
    known.forget(peer)
    assert len(known.remove_gone(10)) == 2 - ended
    kept = weakref.ref(peer)
    del peer
    assert kept() is None
