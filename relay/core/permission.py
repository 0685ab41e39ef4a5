"""The rights of those who connect to the relay: what they may ask, publish and answer.

Without a table `[peers]` in `relay.toml`, everybody who reaches the relay's sockets may do
everything. With one, only those it lists may connect, each with its own rights.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from relay.wire.peers import ANY, ListedPeer, PeerRole
from relay.wire.topics import ADDRESSED, EDGE, EDGE_STATE, PRESENCE, Topic

OPERATIONS = {
    PeerRole.EMITTER: frozenset({"hello", "account", "watched", "retained", "serve", "result"}),
    PeerRole.EDGE: frozenset(
        {"hello", "account", "watched", "retained", "replay", "demand", "call", "serve", "result"}
    ),
    PeerRole.TOOL: frozenset({"hello", "replay", "retained", "stats", "watched"}),
}
"""Role to the operations of the control socket that it may ask for."""
SUBSCRIBERS = frozenset({PeerRole.EDGE, PeerRole.TOOL})
"""The roles that may subscribe at the egress."""
EDGE_KINDS = frozenset({EDGE, EDGE_STATE, PRESENCE})
"""Kinds that edges alone may publish."""


class Patterns:
    """Texts, of which those that end in `*` stand for all that begin so."""

    __slots__ = ("_exact", "_prefixes", "texts")

    def __init__(self, texts: Iterable[str]) -> None:
        self.texts = tuple(dict.fromkeys(texts))
        self._exact = frozenset(text for text in self.texts if not text.endswith(ANY))
        self._prefixes = tuple(text[:-1] for text in self.texts if text.endswith(ANY))

    def match(self, text: str) -> bool:
        """Return whether one of the patterns stands for `text`."""
        return text in self._exact or text.startswith(self._prefixes)


EVERYTHING = Patterns([ANY])
NOTHING = Patterns([])


@dataclass(frozen=True, slots=True, eq=False)
class Rights:
    """One entry of the list of peers."""

    name: str
    role: PeerRole | None
    """None may ask for every operation."""
    publish: Patterns = EVERYTHING
    """Topics; of an event for one user that under which it was emitted."""
    sources: Patterns = EVERYTHING
    users: Patterns = EVERYTHING
    """The users whose tasks and events it may publish."""
    methods: Patterns = EVERYTHING
    """The methods that it may answer."""

    def may_ask(self, operation: str) -> bool:
        """Return whether an operation of the control socket is allowed."""
        return self.role is None or operation in OPERATIONS[self.role]

    @property
    def may_subscribe(self) -> bool:
        """Whether it may connect to the egress."""
        return self.role is None or self.role in SUBSCRIBERS

    @property
    def may_publish(self) -> bool:
        """Whether it may connect to the ingress."""
        return bool(self.publish.texts)

    def refuses(self, topic: Topic, source: str, username: str | None) -> str:
        """Return what of an event is not allowed, "" if it may be published."""
        if self.role is None:
            return ""
        text = topic.text.removeprefix(f"{ADDRESSED}:") if topic.kind == ADDRESSED else topic.text
        if self.role is not PeerRole.EDGE and text.partition(":")[0] in EDGE_KINDS:
            return "topic"
        if not self.publish.match(text.removesuffix(":")) and not self.publish.match(text):
            return "topic"
        if source and not self.sources.match(source):
            return "source"
        if username is not None and not self.users.match(username):
            return "username"
        return ""


UNLIMITED = Rights("", None)
"""The rights of everybody where no peers are listed."""


class Credentials(NamedTuple):
    """The proof of a peer's identity: its public key, or its user and group by the kernel."""

    key: bytes = b""
    uid: int | None = None
    gid: int | None = None


@dataclass(frozen=True)
class PeerList:
    """The listed peers. Without any, everybody without a key may do everything."""

    by_key: dict[bytes, Rights] = field(default_factory=dict)
    by_uid: dict[int, Rights] = field(default_factory=dict)
    by_gid: dict[int, Rights] = field(default_factory=dict)
    loopback: Rights | None = None
    is_open: bool = True

    @classmethod
    def of(
        cls, listed: Iterable[ListedPeer], key: bytes = b"", uid: int | None = None
    ) -> "PeerList":
        """Return the list. The relay itself, with its `key` and `uid`, is a tool of its own."""
        peers = tuple(listed)
        itself = Rights("relay", PeerRole.TOOL, NOTHING, NOTHING, NOTHING, NOTHING)
        rights = {peer.name: _rights(peer) for peer in peers}
        by_key = {peer.key: rights[peer.name] for peer in peers if peer.key is not None}
        by_uid = {peer.uid: rights[peer.name] for peer in peers if peer.uid is not None}
        by_gid = {peer.gid: rights[peer.name] for peer in peers if peer.gid is not None}
        loopback = next((rights[peer.name] for peer in peers if peer.loopback), None)
        if key:
            by_key.setdefault(key, itself)
        if uid is not None:
            by_uid.setdefault(uid, itself)
        return cls(by_key, by_uid, by_gid, loopback, not peers)

    def rights_of(self, credentials: Credentials) -> Rights | None:
        """Return the rights of a peer, None if it may not connect. A user wins over its group."""
        if credentials.key:
            return self.by_key.get(credentials.key)
        if self.is_open:
            return UNLIMITED
        if credentials.uid is None:
            return self.loopback
        found = self.by_uid.get(credentials.uid)
        if found is None and credentials.gid is not None:
            found = self.by_gid.get(credentials.gid)
        return found


def _rights(peer: ListedPeer) -> Rights:
    return Rights(
        peer.name,
        peer.role,
        Patterns(peer.publish),
        Patterns(peer.sources),
        Patterns(peer.users),
        Patterns(peer.methods),
    )
