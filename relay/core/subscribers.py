"""`Subscribers`: which peers of the egress are subscribed to which prefixes."""

from collections.abc import Hashable, Sequence
from typing import Generic, TypeVar

from relay.shared.prefix_index import PrefixIndex

MAX_PREFIX_BYTES = 1_024
"""No topic is longer, nor is the longest with a hint before it."""
MAX_PREFIXES = 10_000
MAX_PREFIX_BYTES_OF_PEER = 1024 * 1024
"""The subscriptions of one peer, and their bytes. An edge makes about a thousand."""
MAX_PREFIXES_OF_ALL = 65_536
MAX_PREFIX_BYTES_OF_ALL = 16 * 1024 * 1024
"""A subscription takes about 1 KiB beside its bytes, here and in the routes to emitters."""
MAX_CACHED_TOPICS = 8_192

P = TypeVar("P", bound=Hashable)


class TooManySubscriptions(Exception):  # noqa: N818 - clear without a suffix
    """A peer wants more than it may have; the text says of what."""


class Subscribers(Generic[P]):
    """A set of prefixes for each peer, as that of a ZeroMQ socket: a prefix counts once."""

    def __init__(self) -> None:
        self._prefixes: dict[P, dict[bytes, None]] = {}
        self._bytes: dict[P, int] = {}
        self._total_prefixes = self._total_bytes = 0
        self._index: PrefixIndex[bytes, dict[P, None]] = PrefixIndex()
        self._cache: dict[bytes, tuple[P, ...]] = {}
        """Topic to its subscribers; empty after each change."""

    def __len__(self) -> int:
        return self._total_prefixes

    def subscribe(self, peer: P, prefix: bytes) -> bool:
        """Add a subscription; return whether it is new. Raises `TooManySubscriptions`."""
        prefixes = self._prefixes.setdefault(peer, {})
        if prefix in prefixes:
            return False
        self._check_room(peer, prefix)
        prefixes[prefix] = None
        self._bytes[peer] = self._bytes.get(peer, 0) + len(prefix)
        self._total_bytes += len(prefix)
        self._total_prefixes += 1
        peers = self._index.get(prefix)
        if peers is None:
            self._index.set(prefix, {peer: None})
        else:
            peers[peer] = None
        self._cache.clear()
        return True

    def unsubscribe(self, peer: P, prefix: bytes) -> bool:
        """Remove a subscription; return whether there was one."""
        prefixes = self._prefixes.get(peer, {})
        if prefix not in prefixes:
            return False
        del prefixes[prefix]
        self._bytes[peer] -= len(prefix)
        self._remove(peer, prefix)
        return True

    def forget(self, peer: P) -> Sequence[bytes]:
        """Remove the subscriptions of a peer that has gone; return their prefixes."""
        prefixes = tuple(self._prefixes.pop(peer, ()))
        self._bytes.pop(peer, None)
        for prefix in prefixes:
            self._remove(peer, prefix)
        return prefixes

    def over(self) -> P | None:
        """Return the peer that has to go for all to have room, None while they have.

        It is the one with the most subscriptions, or bytes of them, whoever came last.
        """
        if self._total_prefixes > MAX_PREFIXES_OF_ALL:
            return max(self._prefixes, key=lambda peer: len(self._prefixes[peer]))
        if self._total_bytes > MAX_PREFIX_BYTES_OF_ALL:
            return max(self._bytes, key=self._bytes.__getitem__)
        return None

    def of(self, topic: bytes) -> tuple[P, ...]:
        """Return the peers that are subscribed to `topic`, each once."""
        found = self._cache.get(topic)
        if found is None:
            peers: dict[P, None] = {}
            for _, matching in self._index.matching(topic):
                peers |= matching
            found = tuple(peers)
            if len(self._cache) >= MAX_CACHED_TOPICS:
                self._cache.clear()
            self._cache[topic] = found
        return found

    def _check_room(self, peer: P, prefix: bytes) -> None:
        if len(prefix) > MAX_PREFIX_BYTES:
            raise TooManySubscriptions(f"a subscription has more than {MAX_PREFIX_BYTES} bytes")
        if len(self._prefixes[peer]) >= MAX_PREFIXES:
            raise TooManySubscriptions(f"it has more than {MAX_PREFIXES} subscriptions")
        if self._bytes.get(peer, 0) + len(prefix) > MAX_PREFIX_BYTES_OF_PEER:
            text = f"its subscriptions have more than {MAX_PREFIX_BYTES_OF_PEER} bytes"
            raise TooManySubscriptions(text)

    def _remove(self, peer: P, prefix: bytes) -> None:
        self._total_bytes -= len(prefix)
        self._total_prefixes -= 1
        peers = self._index.get(prefix)
        assert peers is not None, "each prefix of a peer is in the index"
        del peers[peer]
        if not peers:
            self._index.discard(prefix)
        self._cache.clear()
