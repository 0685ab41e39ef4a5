"""Which subscriptions of the edges are passed on to the emitters.

Journaled kinds are always subscribed. Live topics are subscribed only while an edge is, so that
an emitter knows what is being watched.
"""

from enum import Enum, auto

from relay.wire.control import EXACT_PREFIX, SYNC_PREFIX, WITHIN_PREFIX


class Verdict(Enum):
    """What to do with a subscription that an edge made or took back."""

    FORWARD = auto()
    """Pass it on to the emitters."""
    ANSWER = auto()
    """It is a sync nonce: say it back."""
    KEEP = auto()
    """It concerns the relay alone."""


class Interest:
    """Decides by the subscription's prefix alone, so that taking one back undoes making it."""

    def __init__(self, journaled_kinds: tuple[str, ...]) -> None:
        self._journaled_prefixes = tuple(f"{kind}:".encode() for kind in journaled_kinds)

    @property
    def always(self) -> tuple[bytes, ...]:
        """The prefixes to subscribe to whatever the edges want."""
        return self._journaled_prefixes

    def judge(self, prefix: bytes) -> Verdict:
        """Return what to do with a subscription to `prefix`."""
        if prefix.startswith(SYNC_PREFIX):
            return Verdict.ANSWER
        meant = prefix.removeprefix(EXACT_PREFIX).removeprefix(WITHIN_PREFIX)
        if meant.startswith((b"!", *self._journaled_prefixes)):
            return Verdict.KEEP
        return Verdict.FORWARD
