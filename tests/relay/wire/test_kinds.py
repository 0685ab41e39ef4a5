"""Kinds: which are streams, which roles exist, and what each may see and publish."""

import pickle
from dataclasses import replace

import pytest

from relay.wire.grants import all_names
from relay.wire.kinds import BUILT_IN, EVERYBODY, Kind, Kinds, is_role

ORDERS = Kind(
    "order_paid", is_stream=True, subscribe=all_names("shop"), publish=all_names("till", "shop")
)
NEWS = Kind("news", subscribe=all_names(EVERYBODY))


def test_the_built_in_kinds() -> None:
    kinds = Kinds()
    assert kinds.streams == ("event", "task", "addressed")
    assert kinds.roles == ("user", "admin")


def test_others_are_added_and_built_in_ones_replaced_in_place() -> None:
    kinds = Kinds.with_built_in((ORDERS, Kind("event", subscribe=all_names(EVERYBODY)), NEWS))
    names = [each.name for each in kinds.listed]
    assert names == ["event", "task", "addressed", "resource-monitor", "order_paid", "news"]
    assert kinds.streams == ("task", "addressed", "order_paid")
    assert kinds.get("event") == Kind("event", subscribe=all_names(EVERYBODY))
    assert kinds.get("other") is None
    assert BUILT_IN[0].is_stream, "the built-in ones stay as they are"


def test_a_variable_may_say_which_are_streams() -> None:
    kinds = Kinds.with_built_in((ORDERS, NEWS)).with_streams(("task", "addressed", "news", "new"))
    assert kinds.streams == ("task", "addressed", "news", "new")
    assert kinds.subscribable(["shop"], "alice", "order_paid")
    assert not kinds.subscribable(["shop"], "alice", "new")


def test_the_roles_are_those_that_a_kind_names() -> None:
    assert Kinds.with_built_in((ORDERS, NEWS)).roles == ("user", "admin", "shop", "till")


@pytest.mark.parametrize(
    ("role", "subscribes", "publishes"),
    [
        ("shop", {"order_paid", "news"}, {"order_paid"}),
        ("till", {"news"}, {"order_paid"}),
        ("user", {"event", "resource-monitor", "news"}, set()),
        ("unknown", {"news"}, set()),
        ("*", {"news"}, set()),
        ("", {"news"}, set()),
        (
            "admin",
            {"event", "task", "addressed", "resource-monitor", "order_paid", "news", "other"},
            {"event", "task", "addressed", "resource-monitor", "order_paid", "news", "other"},
        ),
    ],
)
def test_what_a_role_may(role: str, subscribes: set[str], publishes: set[str]) -> None:
    kinds = Kinds.with_built_in((ORDERS, NEWS))
    names = {each.name for each in kinds.listed} | {"other"}
    assert {name for name in names if kinds.subscribable([role], "alice", name)} == subscribes
    assert {name for name in names if kinds.publishable([role], "alice", name)} == publishes


@pytest.mark.parametrize(
    ("text", "expected"),
    [("shop", True), ("a-b_9", True), ("a" * 64, True), ("a" * 65, False), ("", False)]
    + [(text, False) for text in ("Shop", "9a", "*", "a b", "a\n", "é")],
)
def test_the_names_of_roles(text: str, expected: bool) -> None:
    assert is_role(text) is expected


def test_kinds_get_presence() -> None:
    kinds = Kinds.with_built_in((replace(ORDERS, presence=True), NEWS))
    assert kinds.presence == {"order_paid"}
    more = kinds.with_presence(("room", "news", "room"))
    assert more.presence == {"order_paid", "room", "news"}
    assert more.get("room") == Kind("room", presence=True)
    assert more.get("news") == replace(NEWS, presence=True)
    assert more.with_streams(("room",)).presence == more.presence


def test_they_travel_to_workers() -> None:
    kinds = Kinds.with_built_in((ORDERS,))
    assert kinds.subscribable(["shop"], "alice", "order_paid")
    assert pickle.loads(pickle.dumps(kinds)) == kinds
