"""The relay's subscriptions at the emitter, which show who watches.

The relay subscribes to every journaled kind, and passes the edges' live subscriptions on.
"""

import logging
from collections.abc import Callable

from relay.shared.prefix_index import PrefixIndex
from relay.wire.demand import FILTERED_PREFIX
from relay.wire.topics import MAX_TOPIC_BYTES

MAX_SUBSCRIPTIONS = 10_000
"""More than the relay makes (`relay.shared.covering_prefixes`)."""
RESERVED_FOR_KINDS = 1000
"""Room for `{kind}:` beyond the maximum: without those subscriptions nothing could be sent."""
MAX_PREFIX_BYTES = len(FILTERED_PREFIX) + MAX_TOPIC_BYTES
"""A longer prefix matches no topic."""

_SUBSCRIBE, _UNSUBSCRIBE = b"\x01", b"\x00"

logger = logging.getLogger(__name__)


class ReceivedSubscriptions:
    """Topic prefixes, `MAX_SUBSCRIPTIONS` at most; further ones are ignored, and logged once.

    One thread calls `change`, any thread the other methods (see `PrefixIndex`).
    """

    def __init__(self) -> None:
        self._prefixes = PrefixIndex[bytes, None]()
        self._is_overflow_logged = False

    def __len__(self) -> int:
        return len(self._prefixes)

    def change(self, frame: bytes) -> None:
        """Take a frame of an XPUB socket: 1 or 0, and the prefix subscribed to or not any more."""
        action, prefix = frame[:1], frame[1:]
        if action == _UNSUBSCRIBE:
            self._prefixes.discard(prefix)
        elif action == _SUBSCRIBE and len(prefix) <= MAX_PREFIX_BYTES:
            if len(self._prefixes) < _limit(prefix):
                self._prefixes.set(prefix, None)
            elif not self._is_overflow_logged:
                self._is_overflow_logged = True
                logger.error("more than %d subscriptions: the rest is ignored", MAX_SUBSCRIPTIONS)

    def include_kinds(self, kinds: frozenset[str]) -> bool:
        """Whether the relay is subscribed to all events of every kind in `kinds`."""
        return all(f"{kind}:".encode() in self._prefixes for kind in kinds)

    def is_watched(self, topic: str, is_named: Callable[[str], bool]) -> bool:
        """Whether somebody watches `topic`; `is_named` tells whether the demand names it.

        A plain subscription means every topic that starts so. One with a hint only opens the path
        for the topics that the demand names (protocol section 4). Without any subscription a value
        would not leave the socket, whatever the demand names.
        """
        prefixes = self._prefixes
        is_filtered = False
        for prefix, _ in prefixes.matching(topic.encode()):
            if FILTERED_PREFIX + prefix not in prefixes:
                return True
            is_filtered = True
        return is_filtered and is_named(topic)


def _limit(prefix: bytes) -> int:
    return MAX_SUBSCRIPTIONS + (RESERVED_FOR_KINDS if prefix.endswith(b":") else 0)
