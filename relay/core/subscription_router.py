"""Routes the subscriptions of edges: on to the emitters, back as an answer, or nowhere.

The relay itself is always subscribed to the journaled kinds. It subscribes to a live topic only
while an edge does, so that an emitter knows which topics are watched.
"""

from enum import Enum, auto

from relay.wire.control import EXACT_PREFIX, SYNC_PREFIX, WITHIN_PREFIX
from relay.wire.topics import MAX_TOPIC_BYTES


class SubscriptionRoute(Enum):
    """Where a subscription, or the end of one, goes."""

    FORWARD = auto()
    """On to the emitters."""
    ANSWER = auto()
    """Back to the subscriber: it is a sync nonce."""
    KEEP = auto()
    """Nowhere: it concerns the relay alone."""


class SubscriptionRouter:
    """Decides by the prefix alone, so that the end of a subscription goes where it went."""

    def __init__(self, journaled_kinds: tuple[str, ...]) -> None:
        self._journaled_prefixes = tuple(f"{kind}:".encode() for kind in journaled_kinds)

    @property
    def always(self) -> tuple[bytes, ...]:
        """The prefixes that the relay is subscribed to independently of any edge."""
        return self._journaled_prefixes

    def route(self, prefix: bytes) -> SubscriptionRoute:
        """Return the route of a subscription to `prefix`."""
        subject = prefix.removeprefix(EXACT_PREFIX).removeprefix(WITHIN_PREFIX)
        # No topic is longer, so that a longer prefix matches nothing. Emitters keep subscriptions
        # for as long as the edge does: without a limit, one subscriber could fill their memory.
        if len(subject) > MAX_TOPIC_BYTES:
            return SubscriptionRoute.KEEP
        if prefix.startswith(SYNC_PREFIX):
            return SubscriptionRoute.ANSWER
        if subject.startswith((b"!", *self._journaled_prefixes)):
            return SubscriptionRoute.KEEP
        return SubscriptionRoute.FORWARD
