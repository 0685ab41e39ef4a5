"""The peers that `relay.toml` lists: who may connect to the relay, and with which rights.

Protocol section 1. `relay.core.permission` decides by them.
"""

from dataclasses import dataclass
from enum import StrEnum

MAX_PEERS = 10_000
MAX_PATTERNS = 256
"""Of each right of one peer."""
MAX_PATTERN_CHARS = 255
ANY = "*"


class PeerRole(StrEnum):
    """The purpose of a peer."""

    EMITTER = "emitter"
    """Publishes events, and answers methods."""
    EDGE = "edge"
    """Sees every event, calls methods, and publishes what clients and applications publish."""
    TOOL = "tool"
    """Sees every event and the counters."""


@dataclass(frozen=True, slots=True)
class ListedPeer:
    """One table `[peers.<name>]`. Exactly one of `key`, `uid`, `gid` and `loopback` is given.

    Of the rights, a text that ends in `*` stands for all that begin so.
    """

    name: str
    role: PeerRole
    key: bytes | None = None
    """A CURVE public key, 32 bytes."""
    uid: int | None = None
    gid: int | None = None
    """The user or the group of those who connect to a Unix socket."""
    loopback: bool = False
    """Those who come over TCP from this machine, without a key."""
    publish: tuple[str, ...] = ()
    """Topics; of an event for one user that under which it is emitted."""
    sources: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    """The users whose tasks and events it may publish."""
    methods: tuple[str, ...] = ()
    """The methods that it may answer."""
