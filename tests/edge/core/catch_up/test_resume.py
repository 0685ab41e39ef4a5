"""Clients that come, go and resume meanwhile: nothing missing, nothing twice, in order."""

from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from edge.core.identity.access import Identity
from edge.core.protocol.requests import Subscribe
from relay.wire.topics import Pattern, parse_pattern
from tests.edge.world import (
    EPOCH,
    PATTERNS,
    TOPICS,
    USERS,
    Viewer,
    World,
    permitted,
    viewer_patterns,
)

moves = st.lists(
    st.one_of(
        st.tuples(st.just("emit"), st.sampled_from(TOPICS), st.sampled_from([None, *USERS])),
        st.tuples(st.just("emit"), st.sampled_from(TOPICS), st.sampled_from([None, *USERS])),
        st.tuples(st.just("burst"), st.sampled_from(TOPICS), st.integers(1, 300)),
        st.tuples(st.just("leave"), st.integers(0, 2), st.none()),
        st.tuples(st.just("come"), st.integers(0, 2), st.none()),
        st.tuples(st.just("step"), st.integers(0, 2), st.integers(1, 3)),
        st.tuples(st.just("step"), st.integers(0, 2), st.integers(1, 3)),
        st.tuples(st.just("retire"), st.integers(1, 900), st.none()),
        st.tuples(st.just("restart"), st.none(), st.none()),
    ),
    max_size=30,
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=3), min_size=3, max_size=3),
    st.sampled_from([2**30, 200_000, 5_000]),
    st.integers(0, 300),
    moves,
)
def test_whatever_happens_each_client_gets_what_it_may_see_once_and_in_order(
    pattern_sets: list[list[str]], history_bytes: int, before: int, steps: list[Any]
) -> None:
    world = World(history_bytes, before)
    viewers = [
        Viewer(world, user, patterns)
        for user, patterns in zip(["alice", "bob", "alice"], pattern_sets, strict=True)
    ]
    for viewer in viewers:
        viewer.connect()
        viewer.subscribe_all()
        viewer.settle()
        assert viewer.positions == {"event": before, "task": before}
    for move, what, how in steps:
        if move == "emit":
            world.emit(what, how or ("alice" if what == "task:1" else None))
        elif move == "burst":
            for _ in range(how):
                world.emit(what, "bob" if what == "task:1" else None)
        elif move == "retire":
            world.retire(what)
        elif move == "restart":
            for viewer in viewers:
                viewer.disconnect()
            world.new_edge()
        elif move == "leave":
            viewers[what].disconnect()
        elif move == "come" and viewers[what].connection is None:
            viewers[what].connect()
            viewers[what].subscribe_all()
        elif move == "step":
            for _ in range(how):
                viewers[what].step()
    for viewer in viewers:
        if viewer.connection is None:
            viewer.connect()
            viewer.subscribe_all()
        viewer.settle()
        lost = {n for first, last in viewer.gaps for n in range(first, last + 1)}
        events = permitted(world.journals["event"], viewer.username, viewer.patterns, before)
        assert viewer.seen["event"] == [n for n in events if n not in lost]
        assert all(n < world.journals["event"].low for n in lost)
        everything = [Pattern("", exact=False)]
        tasks = permitted(world.journals["task"], viewer.username, everything, before)
        assert viewer.seen["task"] == tasks
        assert all(viewer.recovered) or viewer.gaps


requests = st.lists(
    st.one_of(
        st.tuples(st.just("emit"), st.sampled_from(TOPICS[:3]), st.sampled_from([None, *USERS])),
        st.tuples(st.just("plain"), st.sampled_from(PATTERNS), st.none()),
        st.tuples(st.just("since"), st.sampled_from(PATTERNS), st.integers(0, 40)),
        st.tuples(st.just("more"), st.sampled_from(PATTERNS), st.integers(0, 40)),
        st.tuples(st.just("last"), st.sampled_from(PATTERNS), st.integers(1, 20)),
        st.tuples(st.just("step"), st.none(), st.none()),
        st.tuples(st.just("role"), st.sampled_from(["user", "admin"]), st.none()),
    ),
    max_size=30,
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([2**30, 3_000]), requests)
def test_a_message_of_several_subscriptions_arrives_once_also_across_resumes(
    history_bytes: int, steps: list[Any]
) -> None:
    world = World(history_bytes)
    for number in range(30):
        world.emit(TOPICS[number % 3])
    journal = world.journals["event"]
    viewer = Viewer(world, "alice")
    viewer.connect()
    asked: list[tuple[Pattern, int]] = []
    for move, what, how in steps:
        if move == "emit":
            world.emit(what, how)
        elif move == "step":
            viewer.step()
        elif move == "role":
            assert viewer.connection is not None
            viewer.connection.identity = Identity("alice", what, 10**10)
            viewer.subscriptions.renew()
        else:
            pattern = parse_pattern(what)
            since = {"event": min(how, journal.tip)} if move in ("since", "more") else None
            last = how if move == "last" else None
            epoch = None if since is None else EPOCH
            viewer.subscriptions.take(Subscribe(pattern, "id", since, epoch, last))
            if since is not None:
                asked.append((pattern, since["event"]))
            if move != "more":
                viewer.subscriptions.end_gathering()
    viewer.subscriptions.end_gathering()
    viewer.settle()
    seen = viewer.seen["event"]
    searches = sum(move == "last" for move, _, _ in steps)
    assert all(count <= 1 + searches for count in Counter(seen).values()), "nothing comes twice"
    for pattern, after in asked:
        missing = set(permitted(journal, "alice", [pattern], after)) - set(seen)
        assert missing == set(), f"{pattern} since {after}"
    assert set(seen) <= set(permitted(journal, "alice", viewer_patterns(viewer)))
