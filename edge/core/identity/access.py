"""Permissions: the topics that a role may see, and the events of one user.

No other file decides about permissions. A role grants topic prefixes. An event that is addressed
to a user is for that user alone, whatever the role; `ConnectionManager` delivers it through its
index of users.
"""

from dataclasses import dataclass

from relay.wire.topics import EVENT, RESOURCE_MONITOR, Pattern

DEFAULT_ROLE = "user"
ADMIN_ROLE = "admin"

_GRANTED_PREFIXES: dict[str, tuple[str, ...]] = {
    DEFAULT_ROLE: (f"{EVENT}:", f"{RESOURCE_MONITOR}:"),
    ADMIN_ROLE: ("",),
}
ROLES = tuple(_GRANTED_PREFIXES)


@dataclass(frozen=True, slots=True)
class Identity:
    """The user that a valid token names."""

    username: str
    role: str
    expires_at: int
    """Unix time in seconds."""


def selectors(role: str, pattern: Pattern) -> tuple[Pattern, ...]:
    """Return the selectors that `pattern` stands for with `role`; none if it is not allowed.

    `*` stands for all granted prefixes. Every other pattern must lie within one of them.
    """
    granted = _GRANTED_PREFIXES.get(role, ())
    if not pattern.exact and not pattern.prefix:
        return tuple(Pattern(prefix, exact=False) for prefix in granted)
    return (pattern,) if pattern.prefix.startswith(granted) else ()


def may_receive(identity: Identity, addressed_to: str | None) -> bool:
    """Return whether `identity` may see an event; `addressed_to` is its user, None for all."""
    return addressed_to is None or addressed_to == identity.username
