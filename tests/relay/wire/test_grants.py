"""Grants: which names of topics a role may use, and that no user name reaches those of another."""

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from relay.wire.grants import (
    ALL_NAMES,
    MAX_NAMES_CHARS,
    Grant,
    all_names,
    check_names,
    granted_patterns,
    name_in_topics,
)
from relay.wire.topics import Pattern
from relay.wire.usernames import normal_username

OWN = (Grant("user", "{username}:*"), Grant("user", "of:{username}"))
names = st.text("ab:%*é\u0301：\u0000 {}A3", min_size=1, max_size=6).map(normal_username)


def shown(username: str, *roles: str, grants: tuple[Grant, ...] = OWN) -> list[str]:
    return [str(each) for each in granted_patterns("private", grants, roles, username)]


@pytest.mark.parametrize(
    "names",
    ["*", "a", "a*", "a:b:*", "{username}", "{username}:*", "of:{username}", "of:{username}:a*"],
)
def test_names_that_may_be_granted(names: str) -> None:
    assert check_names(names) == names


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        *(
            (text, "{username} stands once, and between colons or ends of the name")
            for text in ("{username}*", "a{username}", "{username}b:*", "{username}:{username}")
        ),
        ("{user}:*", "the only name in braces is {username}"),
        ("a}", "the only name in braces is {username}"),
        ("", 'must be the name of a topic, or a prefix that ends in "*"'),
        ("a*b", 'must be the name of a topic, or a prefix that ends in "*"'),
        ("a\n", 'must be the name of a topic, or a prefix that ends in "*"'),
        ("*:{username}", 'must be the name of a topic, or a prefix that ends in "*"'),
        ("a" * (MAX_NAMES_CHARS + 1), f"must have at most {MAX_NAMES_CHARS} characters"),
    ],
)
def test_names_that_may_not(names: str, problem: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(problem)}$"):
        check_names(names)


def test_a_role_without_a_grant_has_nothing() -> None:
    assert shown("alice", "guest") == []
    assert shown("alice", "user") == ["private:alice:*", "private:of:alice"]
    assert shown("alice", "user", grants=all_names("user")) == ["private:*"]


def test_all_names_cover_the_others_and_a_wide_prefix_a_narrow_one() -> None:
    both = (*OWN, *all_names("support"))
    assert shown("alice", "user", "support", grants=both) == ["private:*"]
    nested = (Grant("user", "{username}:*"), Grant("user", "{username}:a*"), Grant("user", "a*"))
    assert shown("alice", "user", grants=nested) == ["private:a*"]
    assert shown("bob", "user", grants=nested) == ["private:bob:*", "private:a*"]
    assert ALL_NAMES == "*"


@pytest.mark.parametrize(
    ("username", "part"),
    [
        ("a:b", "a%3Ab"),
        ("a*", "a%2A"),
        ("*", "%2A"),
        ("a%3Ab", "a%253Ab"),
        ("a\u0000", "a%00"),
        ("a\n\x9b", "a%0A%9B"),
        ("a\uff1ab c", "a\uff1ab c"),
        ("{username}", "{username}"),
    ],
)
def test_a_name_is_one_part_of_a_topic(username: str, part: str) -> None:
    assert name_in_topics(username) == part
    assert shown(username, "user")[0] == f"private:{part}:*"


@pytest.mark.parametrize("username", ["é" * 130, "a" * 255, "\ud800"])
def test_a_name_that_does_not_fit_into_a_topic_has_none(username: str) -> None:
    assert shown(username, "user") == []


@given(names, names)
def test_no_two_users_share_a_topic(one: str, other: str) -> None:
    assume(one != other)
    for mine in granted_patterns("private", OWN[:1], ["user"], one):
        for theirs in granted_patterns("private", OWN[:1], ["user"], other):
            assert mine.meet(theirs) is None


texts = st.text("ab:", max_size=3)
patterns = st.builds(Pattern, texts, st.booleans())


@given(patterns, patterns, texts)
def test_two_patterns_meet_in_the_topics_of_both(one: Pattern, other: Pattern, topic: str) -> None:
    met = one.meet(other)
    both = one.matches(topic) and other.matches(topic)
    assert both == (met is not None and met.matches(topic))
