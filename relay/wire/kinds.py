"""The kinds of topics: which are streams, what is kept of them, and who may see and publish them.

Protocol sections 2 and 7. Four kinds are built in; `relay.toml` changes them and adds others. A
kind that is not listed is live, and only administrators may see or publish it.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

from relay.wire.grants import Grant, all_names, granted_patterns
from relay.wire.topics import ADDRESSED, EVENT, RESOURCE_MONITOR, TASK, Pattern

USER_ROLE = "user"
ADMIN_ROLE = "admin"
"""May see and publish every kind."""
EVERYBODY = "*"
"""In the place of a role: every signed-in user, whatever the role."""
MAX_ROLE_CHARS = 64
MAX_KINDS = 256
MAX_STREAMS = 64
"""Of the listed kinds."""
MAX_RETENTION_S = 100 * 365 * 86_400
MIN_RETENTION_BYTES = 64 * 1024
MAX_RETENTION_BYTES = 2**44

_ROLE = re.compile(rf"[a-z][a-z0-9_-]{{0,{MAX_ROLE_CHARS - 1}}}\Z")


def is_role(text: str) -> bool:
    """Return whether `text` can be the name of a role."""
    return bool(_ROLE.match(text))


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of topics."""

    name: str
    is_stream: bool = False
    """Whether its events are stored, numbered and replayed; else the newest value counts."""
    subscribe: tuple[Grant, ...] = ()
    """The roles that may subscribe, beside `admin`, and to what; `EVERYBODY` may be one of them."""
    publish: tuple[Grant, ...] = ()
    """The roles that may publish through the edge, in the same way."""
    retention_s: float | None = None
    """Seconds for which the events of a stream are kept; None for the relay's setting."""
    retention_bytes: int | None = None
    """Bytes that are kept of a stream; None for the relay's setting."""
    presence: bool = False
    """Whether edges know who is subscribed to a topic of this kind."""


BUILT_IN = (
    Kind(EVENT, is_stream=True, subscribe=all_names(USER_ROLE)),
    Kind(TASK, is_stream=True),
    Kind(ADDRESSED, is_stream=True),
    Kind(RESOURCE_MONITOR, subscribe=all_names(USER_ROLE)),
)
"""The kinds that exist without a file."""


@dataclass(frozen=True, slots=True)
class Method:
    """A method that manager processes answer."""

    name: str
    call: tuple[str, ...] = ()
    """The roles that may call it, beside `admin`; `EVERYBODY` may be one of them."""


@dataclass(frozen=True)
class Kinds:
    """All kinds that are listed, and what follows for any kind; and the listed methods."""

    listed: tuple[Kind, ...] = BUILT_IN
    """Each with a name of its own."""
    methods: tuple[Method, ...] = ()
    """Each with a name of its own."""

    @classmethod
    def with_built_in(cls, kinds: Iterable[Kind], methods: Iterable[Method] = ()) -> "Kinds":
        """Return `kinds` and the built-in ones that they do not replace, and `methods`."""
        listed = {each.name: each for each in BUILT_IN} | _by_name(kinds)
        return cls(tuple(listed.values()), tuple(methods))

    def with_streams(self, names: Iterable[str]) -> "Kinds":
        """Return the same kinds, of which exactly `names` are streams; unlisted ones are added."""
        streams = tuple(names)
        others = tuple(Kind(name) for name in streams if name not in self._known)
        return Kinds(
            tuple(
                replace(each, is_stream=each.name in streams) for each in (*self.listed, *others)
            ),
            self.methods,
        )

    def with_presence(self, names: Iterable[str]) -> "Kinds":
        """Return the same kinds, those of `names` with presence too; unlisted ones are added."""
        wanted = tuple(dict.fromkeys(names))
        others = tuple(Kind(name) for name in wanted if name not in self._known)
        return Kinds(
            tuple(
                replace(each, presence=each.presence or each.name in wanted)
                for each in (*self.listed, *others)
            ),
            self.methods,
        )

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all listed kinds."""
        return tuple(each.name for each in self.listed)

    def get(self, name: str) -> Kind | None:
        """Return the kind `name`, None if it is not listed."""
        return self._known.get(name)

    @cached_property
    def streams(self) -> tuple[str, ...]:
        """The names of the kinds that are streams."""
        return tuple(each.name for each in self.listed if each.is_stream)

    @cached_property
    def presence(self) -> frozenset[str]:
        """The names of the kinds with presence."""
        return frozenset(each.name for each in self.listed if each.presence)

    @cached_property
    def roles(self) -> tuple[str, ...]:
        """The known roles: `user`, `admin`, and those that a kind names."""
        granted = (grant for each in self.listed for grant in (*each.subscribe, *each.publish))
        named = (each.role for each in granted)
        callers = (role for each in self.methods for role in each.call)
        known = dict.fromkeys((USER_ROLE, ADMIN_ROLE, *named, *callers))
        return tuple(role for role in known if role != EVERYBODY)

    def subscribable(self, roles: Iterable[str], username: str, kind: str) -> tuple[Pattern, ...]:
        """Return the topics of `kind` to which the user `username` with `roles` may subscribe.

        Events that are addressed to one user reach that user alone, whatever the role.
        """
        listed = self._known.get(kind)
        return _granted(kind, () if listed is None else listed.subscribe, roles, username)

    def publishable(self, roles: Iterable[str], username: str, kind: str) -> tuple[Pattern, ...]:
        """Return the topics of `kind` on which the user `username` with `roles` may publish."""
        listed = self._known.get(kind)
        return _granted(kind, () if listed is None else listed.publish, roles, username)

    def may_call(self, role: str, method: str) -> bool:
        """Return whether `role` may call `method` of a manager process."""
        return role == ADMIN_ROLE or any(
            each.name == method and _names(each.call, role) for each in self.methods
        )

    @cached_property
    def _known(self) -> dict[str, Kind]:
        return _by_name(self.listed)


def _by_name(kinds: Iterable[Kind]) -> dict[str, Kind]:
    return {each.name: each for each in kinds}


def _granted(
    kind: str, grants: tuple[Grant, ...], roles: Iterable[str], username: str
) -> tuple[Pattern, ...]:
    held = frozenset((*roles, EVERYBODY))
    if ADMIN_ROLE in held:
        return (Pattern(f"{kind}:", exact=False),)
    return granted_patterns(kind, grants, held, username)


def _names(roles: tuple[str, ...], role: str) -> bool:
    # A token may name any text as its role, so also the one that stands for everybody.
    return EVERYBODY in roles or role in roles
