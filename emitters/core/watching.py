"""What a set of subscriptions says about who is watching a live topic."""

from relay.shared.prefix_index import PrefixIndex
from relay.wire.control import EXACT_PREFIX, WITHIN_PREFIX


def is_watched(topic: bytes, subscriptions: PrefixIndex[bytes, None]) -> bool:
    """Whether somebody is subscribed to `topic` itself.

    To ZeroMQ a subscription to `resource-monitor:a` matches `resource-monitor:ab` too. It counts
    for the latter only if no edge said that it means the former exactly.
    """
    return any(
        prefix == topic
        or EXACT_PREFIX + prefix not in subscriptions
        or WITHIN_PREFIX + prefix in subscriptions
        for prefix, _ in subscriptions.matching(topic)
    )
