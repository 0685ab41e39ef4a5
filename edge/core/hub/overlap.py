"""Whether a selector can match topics of a kind, or of another prefix."""

from relay.wire.topics import Pattern


def concerns(selector: Pattern, kind: str) -> bool:
    """Whether `selector` can match a topic of `kind`."""
    kind_prefix = f"{kind}:"
    if selector.exact:
        return selector.prefix.startswith(kind_prefix)
    return may_overlap(selector.prefix, kind_prefix)


def may_overlap(prefix: str, other: str) -> bool:
    """Whether one topic can start with both prefixes."""
    return prefix.startswith(other) or other.startswith(prefix)
