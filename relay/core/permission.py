"""The rights of those who connect to the relay: what they may ask, publish and answer.

Without a table `[peers]` in `relay.toml`, everybody who reaches the relay's sockets may do
everything. With one, only those it lists may connect, each with its own rights.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import NamedTuple

from relay.wire.header import EMITTER_ID_BYTES
from relay.wire.peers import ANY, ListedPeer, Patterns, PeerRole, PublishRights

OPERATIONS = {
    PeerRole.EMITTER: frozenset({"hello", "account", "watched", "serve", "result"}),
    PeerRole.EDGE: frozenset(
        {"hello", "account", "watched", "retained", "replay", "demand", "call", "serve", "result"}
    ),
    PeerRole.TOOL: frozenset({"hello", "replay", "retained", "stats", "watched"}),
}
"""Role to the operations of the control socket that it may ask for."""
SUBSCRIBERS = frozenset({PeerRole.EDGE, PeerRole.TOOL})
"""The roles that may subscribe at the egress."""
MAX_CACHED_IDS = 256


EVERYTHING = Patterns([ANY])


@dataclass(frozen=True, slots=True, eq=False)
class Rights:
    """The rights of one listed peer, or of everybody."""

    name: str
    role: PeerRole | None
    """None may ask for every operation."""
    publishing: PublishRights | None = None
    """None may publish everything."""
    methods: Patterns = EVERYTHING
    """The methods that it may answer."""
    listed: ListedPeer | None = None
    """The table from which the rights are; None of those of everybody."""
    _ids: dict[bytes, bytes] = field(default_factory=dict)

    def may_ask(self, operation: str) -> bool:
        """Return whether an operation of the control socket is allowed."""
        return self.role is None or operation in OPERATIONS[self.role]

    def may_be(self, role: str) -> bool:
        """Return whether the peer may say that it is an emitter, an edge or a tool.

        Edges publish, and so say hello as emitters too.
        """
        if self.role in (None, role):
            return True
        return role == PeerRole.EMITTER and self.role is PeerRole.EDGE

    @property
    def may_subscribe(self) -> bool:
        """Whether it may connect to the egress."""
        return self.role is None or self.role in SUBSCRIBERS

    @property
    def may_publish(self) -> bool:
        """Whether it may connect to the ingress."""
        publishing = self.publishing
        return publishing is None or publishing.is_edge or bool(publishing.topics.texts)

    def own_id(self, emitter_id: bytes) -> bytes:
        """Return the relay's own id of an emitter that this peer calls `emitter_id`.

        So an emitter belongs to its peer: another peer that gives the same id is another emitter,
        and can neither use its numbers up nor keep it out.
        """
        if self.role is None:
            return emitter_id
        own = self._ids.get(emitter_id)
        if own is None:
            if len(self._ids) >= MAX_CACHED_IDS:
                self._ids.clear()
            key = blake2b(self.name.encode()).digest()
            own = blake2b(emitter_id, digest_size=EMITTER_ID_BYTES, key=key).digest()
            self._ids[emitter_id] = own
        return own


UNLIMITED = Rights("", None)
"""The rights of everybody where no peers are listed."""


class PeerIdentity(NamedTuple):
    """The proof of a peer's identity: its public key, or by the kernel its user and group, or that
    it comes over TCP from this machine."""

    key: bytes = b""
    uid: int | None = None
    gid: int | None = None
    is_loopback: bool = False


@dataclass
class PeerList:
    """The listed peers. Without any, everybody without a key may do everything.

    The relay's sockets share one, which may become another while the relay runs.
    """

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
        itself = _rights(ListedPeer("relay", PeerRole.TOOL))
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

    def become(self, other: "PeerList") -> None:
        """Take all that is in `other`."""
        self.by_key, self.by_uid, self.by_gid = other.by_key, other.by_uid, other.by_gid
        self.loopback, self.is_open = other.loopback, other.is_open

    @property
    def has_other_users(self) -> bool:
        """Whether users or groups are listed that may connect to a Unix socket."""
        return len(self.by_uid) > 1 or bool(self.by_gid)

    def rights_of(self, credentials: PeerIdentity) -> Rights | None:
        """Return the rights of a peer, None if it may not connect. A user wins over its group."""
        if credentials.key:
            return self.by_key.get(credentials.key)
        if self.is_open:
            return UNLIMITED
        if credentials.uid is None:
            return self.loopback if credentials.is_loopback else None
        found = self.by_uid.get(credentials.uid)
        if found is None and credentials.gid is not None:
            found = self.by_gid.get(credentials.gid)
        return found


def _rights(peer: ListedPeer) -> Rights:
    publishing = PublishRights(
        Patterns(peer.publish),
        Patterns(peer.sources),
        Patterns(peer.users),
        is_edge=peer.role is PeerRole.EDGE,
    )
    return Rights(peer.name, peer.role, publishing, Patterns(peer.methods), peer)
