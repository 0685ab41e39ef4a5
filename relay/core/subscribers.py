"""`Subscribers`: which peers of the egress are subscribed to which prefixes."""

from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

from relay.shared.compaction import compacted
from relay.shared.prefix_index import PrefixIndex

MAX_PREFIX_BYTES = 1_024
"""No topic is longer, nor is the longest with a hint before it."""
MAX_PREFIXES = 10_000
MAX_PREFIX_BYTES_OF_PEER = 1024 * 1024
"""The subscriptions of one peer, and their bytes. An edge makes about a thousand."""
MAX_PREFIXES_OF_ALL = 65_536
MAX_PREFIX_BYTES_OF_ALL = 16 * 1024 * 1024
"""A subscription takes about 700 bytes beside its own, here and in the routes to emitters."""
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
        self._gone: dict[P, deque[bytes]] = {}
        """Peers that have gone, and those of their prefixes that are still in the index."""
        self._index: PrefixIndex[bytes, dict[P, None]] = PrefixIndex()
        self._cache: dict[bytes, tuple[P, ...]] = {}
        """Topic to its subscribers; empty after each change."""

    def __len__(self) -> int:
        return self._total_prefixes

    @property
    def has_gone(self) -> bool:
        """Whether subscriptions of peers that have gone are still to be removed."""
        return bool(self._gone)

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
        self._total_bytes -= len(prefix)
        self._total_prefixes -= 1
        self._remove(peer, prefix)
        self._cache.clear()
        return True

    def forget(self, peer: P) -> None:
        """Note that a peer has gone: no event is for it from now on."""
        prefixes = deque(self._prefixes.pop(peer, ()))
        self._total_prefixes -= len(prefixes)
        self._total_bytes -= self._bytes.pop(peer, 0)
        if prefixes:
            self._gone[peer] = prefixes
            self._cache.clear()

    def remove_gone(self, most: int) -> list[bytes]:
        """Remove up to `most` subscriptions of peers that have gone; return their prefixes.

        Ten thousand at once would keep everybody waiting.
        """
        removed: list[bytes] = []
        while self._gone and len(removed) < most:
            peer, prefixes = next(iter(self._gone.items()))
            while prefixes and len(removed) < most:
                removed.append(prefixes.popleft())
                self._remove(peer, removed[-1])
            if not prefixes:
                del self._gone[peer]
        return removed

    def shrink(self) -> None:
        """Give back the room of subscriptions that have gone."""
        self._index.shrink()
        self._prefixes, self._bytes = compacted(self._prefixes), compacted(self._bytes)

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
            found = tuple(peer for peer in peers if peer not in self._gone)
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
        peers = self._index.get(prefix)
        assert peers is not None, "each prefix of a peer is in the index"
        del peers[peer]
        if not peers:
            self._index.discard(prefix)
