"""`is_served`: whether an edge with certain topic prefixes follows a stream."""

from collections.abc import Iterable

from relay.wire.topics import INTERNAL_STREAMS, Pattern


def is_served(kind: str, served_prefixes: Iterable[str]) -> bool:
    """Return whether this edge serves at least a part of the stream `kind`.

    Addressed events are of any kind, and are looked at one by one; revoked tokens concern all.
    """
    return kind in INTERNAL_STREAMS or any(
        Pattern(served, exact=False).concerns(kind) for served in served_prefixes
    )
