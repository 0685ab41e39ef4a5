"""Translates what clients want into ZeroMQ subscriptions, which know only prefixes."""

from edge.core.hub.overlap import may_overlap
from relay.wire.control import EXACT_PREFIX, WITHIN_PREFIX
from relay.wire.topics import Pattern


def subscriptions(selector: Pattern, served_prefixes: tuple[str, ...]) -> tuple[bytes, ...]:
    """Return the subscriptions for `selector`, limited to the topics this edge serves.

    Each comes with the hint that tells emitters whether it is meant exactly.
    """
    wanted: list[bytes] = []
    for served in served_prefixes:
        if selector.prefix.startswith(served):
            prefix, exact = selector.prefix, selector.exact
        elif served.startswith(selector.prefix) and not selector.exact:
            prefix, exact = served, False
        else:
            continue
        wanted += [(EXACT_PREFIX if exact else WITHIN_PREFIX) + prefix.encode(), prefix.encode()]
    return tuple(wanted)


def stream_subscriptions(
    journaled_kinds: tuple[str, ...], served_prefixes: tuple[str, ...]
) -> frozenset[bytes]:
    """Return the subscriptions for the streams of which this edge serves at least a part.

    Each is followed whole, so that a missing offset is a lost event and nothing else.
    """
    return frozenset(
        f"{kind}:".encode()
        for kind in journaled_kinds
        if any(may_overlap(served, f"{kind}:") for served in served_prefixes)
    )
