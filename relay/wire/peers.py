"""The peers that `relay.toml` lists: who may connect to the relay, and with which rights.

Protocol section 1. `relay.core.permission` decides by them.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from relay.wire.topics import EDGE, EDGE_STATE, PRESENCE, REVOCATION, Topic

MAX_PEERS = 10_000
MAX_NAME_CHARS = 64
MAX_PATTERNS = 256
"""Of each right of one peer."""
MAX_PATTERN_CHARS = 255
ANY = "*"
_NAME = re.compile(rf"[A-Za-z0-9_-][A-Za-z0-9_.-]{{0,{MAX_NAME_CHARS - 1}}}\Z")


class PeerRole(StrEnum):
    """The purpose of a peer."""

    EMITTER = "emitter"
    """Publishes events, and answers methods."""
    EDGE = "edge"
    """Sees every event, calls methods, and publishes what clients and applications publish."""
    TOOL = "tool"
    """Sees every event and the counters."""


EDGE_KINDS = frozenset({EDGE, EDGE_STATE, PRESENCE, REVOCATION})
"""Kinds that edges alone may publish."""


def is_peer_name(text: str) -> bool:
    """Return whether a peer may have the name `text`, which is also that of its key file."""
    return bool(_NAME.match(text))


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


class PublishRights(NamedTuple):
    """The events that a listed peer may publish."""

    topics: Patterns
    """Of an event for one user, the topic under which it is emitted."""
    sources: Patterns
    users: Patterns
    """The users whose tasks and events it may publish."""
    is_edge: bool = False

    def refuses(self, topic: Topic, source: str, username: str | None) -> str:
        """Return the field of an event that is not allowed, "" if it may be published."""
        subject = topic.subject
        if subject.partition(":")[0] in EDGE_KINDS:
            return "" if self.is_edge else "topic"
        # `app_log:*` stands for the kind alone as well, as in a subscription.
        if not (self.topics.match(topic.shown) or self.topics.match(subject)):
            return "topic"
        if source and not self.sources.match(source):
            return "source"
        if username is not None and not self.users.match(username):
            return "username"
        return ""


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
