"""Permissions: the topics that a user may see and publish, and the events of one user.

No other file decides about permissions. `Access` is the question that the core asks, and
`KindAccess` answers it by the roles of each kind. Whatever a client asks for is translated into
selectors first: live events, replays, histories, retained values and counts of presence look at
these alone. An event that is addressed to a user is for that
user alone, whatever the role; `ConnectionManager` delivers it through its index of users.
"""

from dataclasses import dataclass, field
from typing import Protocol

from relay.wire.kinds import ADMIN_ROLE, EVERYBODY, USER_ROLE, Kinds, is_role
from relay.wire.topics import PERSONAL_KINDS, Pattern, Topic, presence_subject

DEFAULT_ROLE = USER_ROLE
NEVER = 2**53
"""Unix time in seconds. Larger integers are not exact in JavaScript and as floats."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The user that a valid token names."""

    username: str
    role: str
    expires_at: int
    """Unix time in seconds, or `NEVER`."""
    more_roles: tuple[str, ...] = ()
    """The roles that the token names beside `role`."""
    issued_at: float | None = field(default=None, compare=False)
    """Unix time in seconds; 0 of a token that does not say it, None without a token."""
    token_id: str | None = field(default=None, compare=False)
    """By which this one token can be revoked; None without a token."""

    @property
    def roles(self) -> tuple[str, ...]:
        """All roles."""
        return (self.role, *self.more_roles)


class Access(Protocol):
    """Decides what users may see and publish. Asked for every request, so it answers at once.

    The answers for one identity stay the same until a session is told to ask again.
    """

    def selectors(self, identity: Identity, pattern: Pattern) -> tuple[Pattern, ...]:
        """Return the selectors that `pattern` stands for; none if it is not allowed.

        They match no topic that `pattern` does not match.
        """

    def refusal(self, identity: Identity, pattern: Pattern) -> str:
        """Return why `pattern` is not allowed, and who can change that; "" to say nothing."""

    def may_publish(self, identity: Identity, topic: Topic) -> bool:
        """Return whether the user may publish an event on `topic`."""

    def may_call(self, identity: Identity, method: str) -> bool:
        """Return whether the user may call `method` of a manager process."""


class KindAccess:
    """Access by role and kind, as `relay.toml` has it; an `Access`."""

    def __init__(self, kinds: Kinds) -> None:
        self.kinds = kinds
        """Those that hold now; they may be replaced."""

    def selectors(self, identity: Identity, pattern: Pattern) -> tuple[Pattern, ...]:
        """Return the selectors that `pattern` stands for; none if it is not allowed.

        It stands for those of its topics that the user may see, in all kinds that it concerns.
        """
        if ADMIN_ROLE in identity.roles:
            return (pattern,)
        kind, colon, _ = pattern.prefix.partition(":")
        kinds = (kind,) if colon else filter(lambda each: each.startswith(kind), self.kinds.names)
        allowed = (
            each
            for name in kinds
            for each in self.kinds.subscribable(identity.roles, identity.username, name)
        )
        return tuple(filter(None, map(pattern.meet, allowed)))

    def refusal(self, identity: Identity, pattern: Pattern) -> str:
        """Return why `pattern` is not allowed: the table and the role in `relay.toml`."""
        kind, colon, _ = pattern.prefix.partition(":")
        # A token may have any text as its role; it is not repeated to the client.
        role = identity.role if is_role(identity.role) else EVERYBODY
        if not colon:
            which = f"no kind that starts with '{kind}'" if kind else "no kind"
            return f'{which} has the role "{role}" in subscribe in relay.toml'
        if kind in PERSONAL_KINDS:
            return ""  # Nobody can allow it: their events come without a subscription.
        if self.kinds.get(kind) is None:
            return f'add [kinds.{kind}] with subscribe = ["{role}"] to relay.toml'
        if self.kinds.subscribable(identity.roles, identity.username, kind):
            return f"subscribe of [kinds.{kind}] in relay.toml allows other topics only"
        return f'subscribe of [kinds.{kind}] in relay.toml lacks the role "{role}"'

    def may_publish(self, identity: Identity, topic: Topic) -> bool:
        """Return whether the user may publish on `topic`, addressed to a user or not.

        That is not asked of emitters, which connect to the relay itself.
        """
        kind = topic.subject.partition(":")[0]
        allowed = self.kinds.publishable(identity.roles, identity.username, kind)
        return any(each.matches(topic.subject) for each in allowed)

    def may_call(self, identity: Identity, method: str) -> bool:
        """Return whether the user's role may call `method`."""
        return any(self.kinds.may_call(role, method) for role in identity.roles)


class PresenceAccess:
    """Another access, with one rule more: whoever may see a topic may see its presence.

    For topics of `kinds` alone: of others nobody knows the presence.
    """

    def __init__(self, access: Access, kinds: frozenset[str]) -> None:
        self._access = access
        self._kinds = kinds

    def selectors(self, identity: Identity, pattern: Pattern) -> tuple[Pattern, ...]:
        """Return the selectors that `pattern` stands for; none if it is not allowed."""
        subject = presence_subject(pattern)
        if subject is None:
            return self._access.selectors(identity, pattern)
        is_allowed = self._has(subject) and self._access.selectors(identity, subject)
        return (pattern,) if is_allowed else ()

    def refusal(self, identity: Identity, pattern: Pattern) -> str:
        """Return why `pattern` is not allowed, and who can change that; "" to say nothing."""
        subject = presence_subject(pattern)
        if subject is None or not self._access.selectors(identity, subject):
            return self._access.refusal(identity, subject or pattern)
        return f"[kinds.{_kind_of(subject)}] in relay.toml lacks presence = true"

    def may_publish(self, identity: Identity, topic: Topic) -> bool:
        """Return whether the user may publish an event on `topic`."""
        return self._access.may_publish(identity, topic)

    def may_call(self, identity: Identity, method: str) -> bool:
        """Return whether the user may call `method` of a manager process."""
        return self._access.may_call(identity, method)

    def _has(self, subject: Pattern) -> bool:
        return _kind_of(subject) in self._kinds


def _kind_of(pattern: Pattern) -> str:
    return pattern.prefix.partition(":")[0]


def may_receive(identity: Identity, addressed_to: str | None) -> bool:
    """Return whether `identity` may see an event; `addressed_to` is its user, None for all."""
    return addressed_to is None or addressed_to == identity.username
