"""Grants: a role, and the names of topics that it may use (protocol section 7).

`{username}` in them stands for the name of the user who asks. It is a whole part of the name, with
a colon or an end on both sides, and the user's own colons are escaped. So no user can choose a name
that matches topics of another: the topics of `a` begin with `a:`, those of `a:b` with `a%3Ab:`.
"""

import unicodedata
from collections.abc import Iterable
from typing import NamedTuple

from relay.wire.errors import InvalidTopic
from relay.wire.topics import Pattern, parse_pattern

ALL_NAMES = "*"
USERNAME = "{username}"
MAX_NAMES = 16
"""Patterns of one role for one kind."""
MAX_NAMES_CHARS = 192
"""A kind and a colon fit before it into a topic."""


class Grant(NamedTuple):
    """The topics of one kind that one role may use."""

    role: str
    names: str = ALL_NAMES
    """A pattern of what follows `kind:` in a topic."""


def all_names(*roles: str) -> tuple[Grant, ...]:
    """Return grants of all topics of a kind for `roles`."""
    return tuple(map(Grant, roles))


def check_names(names: str) -> str:
    """Return `names`. Raises `ValueError`, whose text says what is wrong with it."""
    head, username, rest = names.partition(USERNAME)
    if username and not (
        (not head or head.endswith(":"))
        and (not rest or rest.startswith(":"))
        and USERNAME not in rest
    ):
        raise ValueError(f"{USERNAME} stands once, and between colons or ends of the name")
    if "{" in head + rest or "}" in head + rest:
        raise ValueError(f"the only name in braces is {USERNAME}")
    if len(names) > MAX_NAMES_CHARS:
        raise ValueError(f"must have at most {MAX_NAMES_CHARS} characters")
    if names != ALL_NAMES:
        try:
            parse_pattern(f"kind:{names}")
        except InvalidTopic:
            raise ValueError('must be the name of a topic, or a prefix that ends in "*"') from None
    return names


def name_in_topics(username: str) -> str:
    """Return the form in which a user's name is a part of the names of topics.

    `%`, `:`, `*` and control characters are escaped as in a URL, so that two users never share one.
    """
    return "".join(
        f"%{ord(char):02X}" if char in "%:*" or unicodedata.category(char) == "Cc" else char
        for char in username
    )


def own_pattern(pattern: str, username: str) -> Pattern:
    """Return `pattern`, such as `private:{username}:*`, for one user.

    Raises `InvalidTopic` for a name that does not fit into a topic.
    """
    return parse_pattern(pattern.replace(USERNAME, name_in_topics(username)))


def granted_patterns(
    kind: str, grants: Iterable[Grant], roles: Iterable[str], username: str
) -> tuple[Pattern, ...]:
    """Return the topics of `kind` that one of `roles` may use, as patterns of which none covers
    another.

    A user whose name does not fit into a topic has no topics of their own.
    """
    held = frozenset(roles)
    found: list[Pattern] = []
    for names in dict.fromkeys(each.names for each in grants if each.role in held):
        if names == ALL_NAMES:
            return (Pattern(f"{kind}:", exact=False),)
        try:
            found.append(own_pattern(f"{kind}:{names}", username))
        except InvalidTopic:
            continue
    return tuple(
        each
        for each in found
        if not any(other != each and other.meet(each) == each for other in found)
    )
