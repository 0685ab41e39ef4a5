"""Routes the subscriptions of edges: on to the emitters, back as an answer, or nowhere.

The relay itself is always subscribed to the journaled kinds. It subscribes to live topics only
while an edge does, so that an emitter knows which topics are watched.
"""

import math
from enum import Enum, auto
from itertools import islice

from relay.shared.covering_prefixes import Routes
from relay.wire.control import SYNC_PREFIX
from relay.wire.demand import FILTERED_PREFIX
from relay.wire.topics import MAX_TOPIC_BYTES

CHANGE_INTERVAL_S = 0.1
MAX_CHANGED_AT_ONCE = 2_000
"""Prefixes whose change is worked out in one turn of the loop: thousands end with a subscriber."""


class SubscriptionRoute(Enum):
    """Where a subscription, or the end of one, goes."""

    FORWARD = auto()
    """On to the emitters, within the cover of all live subscriptions."""
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
        subject = prefix.removeprefix(FILTERED_PREFIX)
        # No topic is longer, so that a longer prefix matches nothing. Emitters keep subscriptions
        # for as long as the edge does: without a limit, one subscriber could fill their memory.
        if len(subject) > MAX_TOPIC_BYTES:
            return SubscriptionRoute.KEEP
        if prefix.startswith(SYNC_PREFIX):
            return SubscriptionRoute.ANSWER
        if subject.startswith((b"!", *self._journaled_prefixes)):
            return SubscriptionRoute.KEEP
        return SubscriptionRoute.FORWARD


class LiveSubscriptions:
    """The live subscriptions of all subscribers, and those of the relay at the emitters.

    A prefix is filtered if every subscriber that has it has its hint as well. All together are
    covered by a bounded number of subscriptions (`Routes`), whatever the subscribers do. Changes
    that follow each other quickly are made together, for each one wakes every emitter up.
    """

    def __init__(self) -> None:
        self._counts: dict[bytes, int] = {}
        """Prefix or hint to the number of its subscribers."""
        self._routed: dict[bytes, bool] = {}
        """Prefix to whether it was added to the routes as filtered."""
        self._changed: dict[bytes, None] = {}
        """Prefixes whose state may be another one than in `_routed`."""
        self._routes = Routes()
        self._change_at = 0.0
        """Before this time, no change is made."""

    def __len__(self) -> int:
        return len(self._counts)

    def take(self, prefix: bytes, *, is_made: bool) -> None:
        """Note that one subscriber has subscribed to `prefix`, a forwarded one, or has ended it.

        `relay.core.subscribers` bounds how many there are.
        """
        count = self._counts.get(prefix, 0)
        if is_made:
            self._counts[prefix] = count + 1
        elif count > 1:
            self._counts[prefix] = count - 1
        else:
            self._counts.pop(prefix, None)
        self._changed[prefix.removeprefix(FILTERED_PREFIX)] = None

    def due_at(self) -> float:
        """Return when `take_changes` may have changes."""
        return self._change_at if self._changed else math.inf

    def take_changes(self, now: float) -> list[tuple[bool, bytes]]:
        """Return the subscriptions of the relay to make (True) and to end, in this order.

        `now` is in seconds. The first change is made at once, later ones after `CHANGE_INTERVAL_S`.
        Of very many changes, the next calls return the rest.
        """
        if not self._changed or now < self._change_at:
            return []
        for prefix in tuple(islice(self._changed, MAX_CHANGED_AT_ONCE)):
            del self._changed[prefix]
            count = self._counts.get(prefix, 0)
            is_filtered = count <= self._counts.get(FILTERED_PREFIX + prefix, 0) if count else None
            was_filtered = self._routed.get(prefix)
            if is_filtered is was_filtered:
                continue
            # The new state first: in between, the topics stay covered.
            if is_filtered is None:
                del self._routed[prefix]
            else:
                self._routed[prefix] = is_filtered
                self._routes.add(prefix, exact=is_filtered)
            if was_filtered is not None:
                self._routes.remove(prefix, exact=was_filtered)
        if self._changed:
            return []
        self._change_at = now + CHANGE_INTERVAL_S
        return self._routes.take_changes()
