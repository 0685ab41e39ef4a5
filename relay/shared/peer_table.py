"""The tables `[peers.<name>]` of `relay.toml`: who may connect to the relay, and their rights."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from relay.shared.curve_keys import parse_public_key
from relay.wire.peers import (
    ANY,
    MAX_NAME_CHARS,
    MAX_PATTERN_CHARS,
    MAX_PATTERNS,
    ListedPeer,
    PeerRole,
    is_peer_name,
)

MAX_ID = 2**32 - 2
IDENTITIES = ("key", "uid", "gid", "loopback")
NAME_FORM = f'1 to {MAX_NAME_CHARS} of a-z, A-Z, 0-9, "_", "." and "-", and no "." first'


def _check_key(key: str) -> str:
    parse_public_key(key)
    return key


def _check_true(value: bool) -> bool:
    if not value:
        raise ValueError("must be true, or left out")
    return value


def _check_name(name: str) -> str:
    if not is_peer_name(name):
        raise ValueError(f"a peer has {NAME_FORM}")
    return name


PeerName = Annotated[str, AfterValidator(_check_name)]
Pattern = Annotated[str, StringConstraints(min_length=1, max_length=MAX_PATTERN_CHARS)]
PatternList = Annotated[list[Pattern], Field(max_length=MAX_PATTERNS)]


class PeerTable(BaseModel):
    """A table `[peers.<name>]`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    role: Literal["emitter", "edge", "tool"]
    key: Annotated[str, AfterValidator(_check_key)] | None = None
    uid: Annotated[int, Field(ge=0, le=MAX_ID)] | None = None
    gid: Annotated[int, Field(ge=0, le=MAX_ID)] | None = None
    loopback: Annotated[bool, AfterValidator(_check_true)] | None = None
    publish: PatternList | None = None
    sources: PatternList | None = None
    users: PatternList | None = None
    methods: PatternList | None = None


def listed_peers(tables: Mapping[str, PeerTable]) -> tuple[ListedPeer, ...]:
    """Return the peers in the tables. Raises `ValueError`, which names the table."""
    peers: list[ListedPeer] = []
    seen: dict[object, str] = {}
    for name, table in tables.items():
        given = {each: getattr(table, each) for each in IDENTITIES}
        given = {each: value for each, value in given.items() if value is not None}
        if len(given) != 1:
            raise ValueError(f"[peers.{name}]: must have one of key, uid, gid and loopback = true")
        peer = _peer(name, table)
        identity = (peer.key, peer.uid, peer.gid, peer.loopback)
        if identity in seen:
            [only] = given
            raise ValueError(f"[peers.{name}] {only}: [peers.{seen[identity]}] has the same one")
        seen[identity] = name
        peers.append(peer)
    return tuple(peers)


def _peer(name: str, table: PeerTable) -> ListedPeer:
    """Return the peer; a right that is not given is that of its role."""
    role = PeerRole(table.role)
    everything = (ANY,) if role is PeerRole.EDGE else ()
    own_name = (name,) if role is PeerRole.EMITTER else everything

    def right(given: list[str] | None, default: tuple[str, ...]) -> tuple[str, ...]:
        return default if given is None else tuple(given)

    return ListedPeer(
        name,
        role,
        None if table.key is None else parse_public_key(table.key),
        table.uid,
        table.gid,
        bool(table.loopback),
        right(table.publish, everything),
        right(table.sources, own_name),
        right(table.users, everything),
        right(table.methods, ()),
    )
