"""`OwnMembers`: connections by topic and user, in buckets of bounded size."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core.presence import members as members_module
from edge.core.presence.members import OwnMembers, members_bytes
from edge.core.presence.values import BUCKETS, Members, Seat
from edge.core.presence.view import PresenceView, PresentUser


def new_members() -> tuple[OwnMembers, PresenceView]:
    view = PresenceView(0.0)
    return OwnMembers("me", view), view


def published(members: OwnMembers) -> dict[int, tuple[int, Members]]:
    return {number: (version, dict(each)) for number, version, each in members.take_changed()}


def test_connections_of_one_user_are_one_seat() -> None:
    members, view = new_members()
    members.join("room:5", "ann", 10)
    members.join("room:5", "ann", 20)
    [(number, (version, seats))] = published(members).items()
    assert (version, seats) == (1, {("room:5", "ann"): Seat(10, 2)})
    assert published(members) == {}, "nothing has changed"
    members.leave("room:5", "ann")
    assert published(members) == {number: (2, {("room:5", "ann"): Seat(10, 1)})}
    assert (members.listed, members.versions) == (1, {number: 2})
    members.leave("room:5", "ann")
    assert published(members) == {number: (3, {})}
    assert (members.listed, members.versions) == (0, {})
    view.take_changes(0.0)
    assert len(view) == 0


def test_the_view_knows_at_once() -> None:
    members, view = new_members()
    members.join("room:5", "ann", 10)
    view.take_changes(0.0)
    assert view.users("room:5") == [PresentUser("ann", 10, 1)]


def test_users_of_one_topic_are_in_many_buckets() -> None:
    members, _ = new_members()
    for number in range(1000):
        members.join("room:5", f"user-{number}", 1)
    found = published(members)
    assert len(found) == BUCKETS
    assert sum(len(seats) for _, seats in found.values()) == members.listed == 1000
    assert max(len(seats) for _, seats in found.values()) < 60


def test_each_bucket_is_published_again_in_its_turn() -> None:
    members, _ = new_members()
    assert members.next_again() is None
    for number in range(40):
        members.join("room:5", f"user-{number}", 1)
    assert members.next_again() is None, "never published: it will be as a change"
    found = published(members)
    again: list[Any] = [members.next_again() for _ in found]
    assert {number: (version, seats) for number, version, seats in again} == found


def test_users_without_room_are_listed_when_there_is_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members_module, "BUCKETS", 1)
    room = 2 * members_bytes({("r:1", "ann"): Seat(1, 1)})
    monkeypatch.setattr(members_module, "MAX_BUCKET_BYTES", room)
    members, view = new_members()
    for name in ("ann", "bob", "cat", "cat", "dan"):
        members.join("r:1", name, 5)
    assert (members.listed, members.unlisted) == (2, 2)
    members.leave("r:1", "dan")
    assert (members.listed, members.unlisted) == (2, 1)
    members.leave("r:1", "ann")
    assert (members.listed, members.unlisted) == (2, 0)
    assert published(members)[0][1] == {("r:1", "bob"): Seat(5, 1), ("r:1", "cat"): Seat(5, 2)}
    view.take_changes(0.0)
    assert view.users("r:1") == [PresentUser("bob", 5, 1), PresentUser("cat", 5, 2)]


keys = st.tuples(st.sampled_from(["room:1", "room:2"]), st.sampled_from(["ann", "bob", "cat"]))


@given(st.lists(keys, max_size=30), st.randoms())
def test_any_order_of_coming_and_going_ends_empty(
    joins: list[tuple[str, str]], chance: Any
) -> None:
    members, view = new_members()
    there: list[tuple[str, str]] = []
    for key in joins:
        members.join(*key, 1)
        there.append(key)
        if chance.random() < 0.5:
            members.leave(*there.pop(chance.randrange(len(there))))
        assert members.listed == len(set(there))
    for key in there:
        members.leave(*key)
    assert (members.listed, members.unlisted, members.versions) == (0, 0, {})
    view.take_changes(0.0)
    view.take_changes(1.0)
    assert len(view) == 0
