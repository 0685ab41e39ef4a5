"""Permissions: role × pattern, and role × topic to publish."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core.identity.access import Access, Identity, KindAccess, PresenceAccess, may_receive
from relay.wire.grants import Grant, all_names
from relay.wire.kinds import EVERYBODY, Kind, Kinds, Method
from relay.wire.topics import addressed_topic, parse_pattern, parse_topic
from tests.relay.wire.strategies import topics

USER_PREFIXES = ("event:", "resource-monitor:")
BUILT_IN = KindAccess(Kinds())
SHOP = KindAccess(
    Kinds.with_built_in(
        (
            Kind("server_log", subscribe=all_names("user", "shop")),
            Kind("server_load", subscribe=all_names("user"), publish=all_names("shop")),
            Kind("server", subscribe=all_names("shop")),
            Kind("news", subscribe=all_names(EVERYBODY), publish=all_names(EVERYBODY)),
        )
    )
)


def who(role: str) -> Identity:
    return Identity("alice", role, 0)


def selected(access: Access, role: str, pattern: str) -> list[str]:
    return [str(selector) for selector in access.selectors(who(role), parse_pattern(pattern))]


@pytest.mark.parametrize(
    ("pattern", "for_user"),
    [
        ("*", ["event:*", "resource-monitor:*"]),
        ("event:a", ["event:a"]),
        ("event:*", ["event:*"]),
        ("event:a*", ["event:a*"]),
        ("resource-monitor:a", ["resource-monitor:a"]),
        ("resource-monitor:*", ["resource-monitor:*"]),
        ("event*", ["event:*"]),
        ("e*", ["event:*"]),
        ("events*", []),
        ("task:1", []),
        ("task:*", []),
        ("t*", []),
        ("task*", []),
        ("addressed*", []),
        ("events:x", []),
        ("event-x:1", []),
        ("secret:x", []),
    ],
)
def test_what_a_pattern_selects_without_a_file(pattern: str, for_user: list[str]) -> None:
    assert selected(BUILT_IN, "user", pattern) == for_user
    assert selected(BUILT_IN, "admin", pattern) == [pattern]
    for role in ("unknown", "", "*", "User"):
        assert selected(BUILT_IN, role, pattern) == []


@pytest.mark.parametrize(
    ("role", "pattern", "expected"),
    [
        ("user", "*", ["event:*", "resource-monitor:*", "server_log:*", "server_load:*", "news:*"]),
        ("user", "server*", ["server_log:*", "server_load:*"]),
        ("user", "server_lo*", ["server_log:*", "server_load:*"]),
        ("user", "server_log*", ["server_log:*"]),
        ("user", "server_log:*", ["server_log:*"]),
        ("user", "server_log:a", ["server_log:a"]),
        ("user", "server_log", ["server_log"]),
        ("user", "server:*", []),
        ("user", "server", []),
        ("shop", "server*", ["server_log:*", "server:*"]),
        ("shop", "*", ["server_log:*", "server:*", "news:*"]),
        ("shop", "event:a", []),
        ("guest", "*", ["news:*"]),
        ("guest", "server*", []),
        ("*", "*", ["news:*"]),
        ("admin", "server*", ["server*"]),
    ],
)
def test_what_a_pattern_selects_with_kinds_of_ones_own(
    role: str, pattern: str, expected: list[str]
) -> None:
    assert selected(SHOP, role, pattern) == expected


@given(
    topics,
    st.sampled_from(["*", "exact", "prefix"]),
    st.integers(0, 300),
    st.sampled_from(["user", "shop", "guest"]),
)
def test_only_granted_topics_of_the_pattern_are_selected(
    topic: str, form: str, length: int, role: str
) -> None:
    pattern = parse_pattern({"*": "*", "exact": topic, "prefix": f"{topic[:length]}*"}[form])
    for access in (BUILT_IN, SHOP):
        found = access.selectors(who(role), pattern)
        parsed = parse_topic(topic)
        may_see = bool(access.selectors(who(role), parse_pattern(topic)))
        matched = any(selector.matches(parsed.text) for selector in found)
        assert matched == (may_see and pattern.matches(parsed.text))


@given(topics, st.integers(0, 300))
def test_a_user_never_selects_a_topic_that_is_not_granted(topic: str, length: int) -> None:
    for selector in BUILT_IN.selectors(who("user"), parse_pattern(f"{topic[:length]}*")):
        assert selector.prefix.startswith(USER_PREFIXES)


@pytest.mark.parametrize(
    ("role", "topic", "expected"),
    [
        ("user", "news:1", True),
        ("guest", "news", True),
        ("shop", "server_load:a", True),
        ("user", "server_load:a", False),
        ("shop", "server_log:a", False),
        ("user", "event:a", False),
        ("user", "secret:x", False),
        ("admin", "secret:x", True),
        ("admin", "task:1", True),
        ("user", "task:1", False),
    ],
)
def test_who_may_publish(role: str, topic: str, expected: bool) -> None:
    parsed = parse_topic(topic)
    assert SHOP.may_publish(who(role), parsed) is expected
    assert SHOP.may_publish(who(role), addressed_topic(parsed)) is expected


@pytest.mark.parametrize(
    ("role", "pattern", "reason"),
    [
        ("user", "order:1", 'add [kinds.order] with subscribe = ["user"] to relay.toml'),
        ("user", "order", 'add [kinds.order] with subscribe = ["user"] to relay.toml'),
        ("user", "server:a", 'subscribe of [kinds.server] in relay.toml lacks the role "user"'),
        ("shop", "event:a", 'subscribe of [kinds.event] in relay.toml lacks the role "shop"'),
        (
            "shop",
            "ev*",
            "no kind that starts with 'ev' has the role \"shop\" in subscribe in relay.toml",
        ),
        ("x" * 65, "order:*", 'add [kinds.order] with subscribe = ["*"] to relay.toml'),
        ("]\n<b>", "order:*", 'add [kinds.order] with subscribe = ["*"] to relay.toml'),
        ("user", "task:1", ""),
    ],
)
def test_a_refusal_says_how_to_allow_it(role: str, pattern: str, reason: str) -> None:
    assert SHOP.selectors(who(role), parse_pattern(pattern)) == ()
    assert SHOP.refusal(who(role), parse_pattern(pattern)) == reason


OWN = KindAccess(
    Kinds.with_built_in(
        (
            Kind(
                "private",
                subscribe=(
                    Grant("user", "{username}:*"),
                    Grant("user", "to-all"),
                    Grant("support"),
                ),
                publish=(Grant("user", "{username}:*"),),
            ),
        )
    )
)


@pytest.mark.parametrize(
    ("role", "pattern", "expected"),
    [
        ("user", "private:alice:1", ["private:alice:1"]),
        ("user", "private:alice:", ["private:alice:"]),
        ("user", "private:alice:1*", ["private:alice:1*"]),
        ("user", "private:alice:*", ["private:alice:*"]),
        ("user", "private:to-all", ["private:to-all"]),
        ("user", "private:a*", ["private:alice:*"]),
        ("user", "private:*", ["private:alice:*", "private:to-all"]),
        ("user", "private*", ["private:alice:*", "private:to-all"]),
        ("user", "p*", ["private:alice:*", "private:to-all"]),
        ("user", "private", []),
        ("user", "private:alice", []),
        ("user", "private:alice2:1", []),
        ("user", "private:alice2*", []),
        ("user", "private:ALICE:1", []),
        ("user", "private:alice\uff1a1", []),
        ("user", "private:bob:*", []),
        ("user", "private:b*", []),
        ("user", "private:to-all*", ["private:to-all"]),
        ("user", "private:to-all:1", []),
        ("support", "private:*", ["private:*"]),
        ("support", "private:bob:1", ["private:bob:1"]),
        ("guest", "private:alice:1", []),
        ("admin", "private:bob:1", ["private:bob:1"]),
    ],
)
def test_a_pattern_stands_for_the_topics_of_the_user(
    role: str, pattern: str, expected: list[str]
) -> None:
    assert selected(OWN, role, pattern) == expected


def test_a_user_publishes_on_topics_of_their_own() -> None:
    for topic, role, expected in (
        ("private:alice:1", "user", True),
        ("private:bob:1", "user", False),
        ("private:alice", "user", False),
        ("private:to-all", "user", False),
        ("private:alice:1", "support", False),
    ):
        parsed = parse_topic(topic)
        assert OWN.may_publish(who(role), parsed) is expected
        assert OWN.may_publish(who(role), addressed_topic(parsed)) is expected


def test_a_refusal_of_others_topics_says_that_the_file_allows_some() -> None:
    assert OWN.refusal(who("user"), parse_pattern("private:bob:1")) == (
        "subscribe of [kinds.private] in relay.toml allows other topics only"
    )


def test_a_role_that_sees_nothing_is_told_so_for_everything() -> None:
    reason = 'no kind has the role "guest" in subscribe in relay.toml'
    assert BUILT_IN.refusal(who("guest"), parse_pattern("*")) == reason


@pytest.mark.parametrize("role", ["user", "admin", "unknown"])
def test_an_addressed_event_is_for_that_user_alone(role: str) -> None:
    alice = Identity("alice", role, 0)
    assert may_receive(alice, None)
    assert may_receive(alice, "alice")
    assert not may_receive(alice, "bob")
    assert not may_receive(alice, "")


@pytest.mark.parametrize(
    ("role", "pattern", "expected"),
    [
        ("user", "presence:server_log:1", ["presence:server_log:1"]),
        ("shop", "presence:server_log:1", ["presence:server_log:1"]),
        ("guest", "presence:server_log:1", []),
        ("admin", "presence:server_log:1", ["presence:server_log:1"]),
        ("user", "presence:server_load:1", []),
        ("admin", "presence:server_load:1", []),
        ("user", "server_log:1", ["server_log:1"]),
        ("user", "presence*", []),
    ],
)
def test_the_presence_of_a_topic_is_for_those_who_may_see_it(
    role: str, pattern: str, expected: list[str]
) -> None:
    access = PresenceAccess(SHOP, frozenset({"server_log"}))
    assert selected(access, role, pattern) == expected


def test_a_refusal_of_presence_says_which_of_both_is_missing() -> None:
    access = PresenceAccess(SHOP, frozenset({"server_log"}))

    def refusal(role: str, pattern: str) -> str:
        return access.refusal(who(role), parse_pattern(pattern))

    lacking = 'subscribe of [kinds.server_log] in relay.toml lacks the role "guest"'
    assert refusal("guest", "presence:server_log:1") == lacking
    assert refusal("guest", "server_log:1") == lacking
    without = "[kinds.server_load] in relay.toml lacks presence = true"
    assert refusal("user", "presence:server_load:1") == without
    assert access.may_publish(who("shop"), parse_topic("server_load:1"))
    assert not access.may_publish(who("user"), parse_topic("server_load:1"))


def test_each_role_of_a_token_grants_what_it_grants() -> None:
    both = Identity("alice", "user", 0, ("unknown", "shop"))
    for topic, allowed in (("server_log:1", True), ("server:1", True), ("secret:1", False)):
        assert bool(SHOP.selectors(both, parse_pattern(topic))) is allowed
    assert {str(each) for each in SHOP.selectors(both, parse_pattern("server*"))} == {
        "server_log:*",
        "server_load:*",
        "server:*",
    }
    assert SHOP.may_publish(both, parse_topic("server_load:1"))
    assert not SHOP.may_publish(both, parse_topic("server:1"))
    admin = Identity("alice", "user", 0, ("admin",))
    assert SHOP.selectors(admin, parse_pattern("secret:1")) == (parse_pattern("secret:1"),)
    called = KindAccess(Kinds(methods=(Method("restart", call=("shop",)),)))
    assert called.may_call(both, "restart")
    assert not called.may_call(who("user"), "restart")
