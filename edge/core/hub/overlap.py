"""Whether a subscription can match topics of a kind, or of another prefix."""

from relay.wire.topics import Pattern


def concerns(selector: Pattern, kind: str) -> bool:
    """Whether `selector` can match topics of `kind`."""
    kind_prefix = f"{kind}:"
    if selector.exact:
        return selector.prefix.startswith(kind_prefix)
    return may_overlap(selector.prefix, kind_prefix)


def may_overlap(prefix: str, other: str) -> bool:
    """Whether a topic can start with both."""
    return prefix.startswith(other) or other.startswith(prefix)
