"""Who may see what. The only place where that is decided.

A role grants topic prefixes. An event that is addressed to a user is for that user alone,
whatever the role; `ConnectionManager` delivers it through the index of users.
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
    """Whom a valid token speaks for."""

    username: str
    role: str
    expires_at: int
    """Unix time in seconds."""


def selectors(role: str, pattern: Pattern) -> tuple[Pattern, ...]:
    """Return what `pattern` selects for `role`; nothing if it is not allowed.

    `*` selects all that the role may see. Every other pattern must lie within what is granted.
    """
    granted = _GRANTED_PREFIXES.get(role, ())
    if not pattern.exact and not pattern.prefix:
        return tuple(Pattern(prefix, exact=False) for prefix in granted)
    return (pattern,) if pattern.prefix.startswith(granted) else ()


def may_receive(identity: Identity, addressed_to: str | None) -> bool:
    """Whether an event that is addressed to `addressed_to` is for `identity`."""
    return addressed_to is None or addressed_to == identity.username
