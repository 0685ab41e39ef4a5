"""`PresenceView`: seats of workers become users who join and leave, each once."""

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from edge.core.presence.values import Seat
from edge.core.presence.view import PresenceChange, PresenceCount, PresenceView, PresentUser

GRACE_S = 2.0


def new_view() -> PresenceView:
    return PresenceView(GRACE_S)


def told(changes: list[PresenceChange]) -> list[tuple[str, list[str], list[str]]]:
    return [
        (each.topic, [user.username for user in each.joined], list(each.left)) for each in changes
    ]


def test_a_user_joins_with_the_first_seat_and_leaves_after_the_last() -> None:
    view = new_view()
    view.put("a", "room:5", "ann", Seat(30, 1))
    assert (view.users("room:5"), view.count("room:5")) == ([], PresenceCount(0, 0))
    [joined] = view.take_changes(0.0)
    assert joined == PresenceChange("room:5", (PresentUser("ann", 30, 1),), (), PresenceCount(1, 1))
    view.put("b", "room:5", "ann", Seat(20, 2))
    view.put("a", "room:5", "ann", None)
    assert view.take_changes(0.0) == []
    assert view.users("room:5") == [PresentUser("ann", 20, 2)]
    view.put("b", "room:5", "ann", None)
    assert view.take_changes(1.0) == []
    assert view.users("room:5") == [PresentUser("ann", 20, 0)], "perhaps about to come back"
    assert view.take_changes(2.9) == []
    assert view.take_changes(3.0) == [PresenceChange("room:5", (), ("ann",), PresenceCount(0, 0))]
    assert (len(view), list(view.topics())) == (0, [])


def test_a_user_who_comes_back_in_time_has_not_left() -> None:
    view = new_view()
    view.put("a", "room:5", "ann", Seat(30, 1))
    view.take_changes(0.0)
    view.put("a", "room:5", "ann", None)
    view.take_changes(1.0)
    view.put("b", "room:5", "ann", Seat(50, 1))
    assert view.take_changes(2.0) == view.take_changes(9.0) == []
    assert view.users("room:5") == [PresentUser("ann", 50, 1)]
    view.put("b", "room:5", "ann", None)
    assert view.take_changes(9.0) == []
    assert told(view.take_changes(11.0)) == [("room:5", [], ["ann"])], "the whole time again"


def test_a_user_who_was_never_shown_leaves_unseen() -> None:
    view = new_view()
    view.put("a", "room:5", "ann", Seat(30, 1))
    view.put("a", "room:5", "ann", None)
    view.put("a", "room:5", "bob", None)
    assert view.take_changes(0.0) == view.take_changes(9.0) == []
    assert view.count("room:5") == PresenceCount(0, 0)


def test_changes_are_in_the_order_in_which_they_happened() -> None:
    view = new_view()
    for name in ("zoe", "ann", "max"):
        view.put("a", "room:5", name, Seat(1, 1))
    view.put("a", "room:1", "ann", Seat(1, 1))
    assert told(view.take_changes(0.0)) == [
        ("room:5", ["zoe", "ann", "max"], []),
        ("room:1", ["ann"], []),
    ]
    assert [each.username for each in view.users("room:5")] == ["ann", "max", "zoe"]
    for name in ("max", "zoe"):
        view.put("a", "room:5", name, None)
    view.take_changes(0.0)
    assert told(view.take_changes(2.0)) == [("room:5", [], ["max", "zoe"])]


steps = st.lists(
    st.tuples(
        st.sampled_from(["a", "b"]),
        st.sampled_from(["room:1", "room:2"]),
        st.sampled_from(["ann", "bob"]),
        st.none() | st.builds(Seat, st.integers(1, 9), st.integers(1, 3)),
        st.sampled_from([None, 0.0, 0.7, 3.0]),
    ),
    max_size=40,
)


@given(steps)
def test_what_is_shown_is_what_was_told(
    steps: list[tuple[str, str, str, Seat | None, float | None]],
) -> None:
    view, now = new_view(), 0.0
    seats: dict[tuple[str, str], dict[str, Seat]] = defaultdict(dict)
    shown: dict[str, set[str]] = defaultdict(set)

    def look() -> None:
        for change in view.take_changes(now):
            names = {each.username for each in change.joined}
            assert not names & shown[change.topic]
            assert shown[change.topic] >= set(change.left)
            shown[change.topic] = (shown[change.topic] | names) - set(change.left)
            assert change.totals.users == len(shown[change.topic])

    for worker, topic, username, seat, pause in steps:
        view.put(worker, topic, username, seat)
        if seat is None:
            seats[topic, username].pop(worker, None)
        else:
            seats[topic, username][worker] = seat
        if pause is not None:
            now += pause
            look()
            for room in ("room:1", "room:2"):
                assert {each.username for each in view.users(room)} == shown[room]
                there = {name for (at, name), held in seats.items() if at == room and held}
                assert shown[room] >= there
    now += 5.0
    look()
    now += 5.0
    look()
    for room in ("room:1", "room:2"):
        held = {name: each for (at, name), each in seats.items() if at == room and each}
        assert {each.username: each for each in view.users(room)} == {
            name: PresentUser(
                name,
                min(seat.since for seat in each.values()),
                sum(seat.connections for seat in each.values()),
            )
            for name, each in held.items()
        }
        total = sum(seat.connections for each in held.values() for seat in each.values())
        assert view.count(room) == PresenceCount(len(held), total)
