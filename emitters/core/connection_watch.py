"""When an emitter without a connection says so, and how.

An emitter with a wrong address would otherwise wait in silence until its outbox is full.
"""

from enum import Enum

FIRST_AFTER_S = 3.0
AGAIN_AFTER_S = 60.0


class Trouble(Enum):
    """The part of the connection that is missing; the value is a format of a log line."""

    NOBODY = (
        "{name}: no relay at {ingress} and {control}; its events wait. Is the relay running, and"
        " are EMITTER_RELAY_INGRESS and EMITTER_RELAY_CONTROL its RELAY_INGRESS and RELAY_CONTROL?"
    )
    NO_CONTROL = (
        "{name}: a relay is at {ingress}, but nobody answers at {control}; its events wait."
        " Is EMITTER_RELAY_CONTROL the RELAY_CONTROL of that relay?"
    )
    NO_INGRESS = (
        "{name}: the relay at {control} answers, but does not subscribe at {ingress}; its events"
        " wait. Is EMITTER_RELAY_INGRESS the RELAY_INGRESS of that relay?"
    )


class ConnectionWatch:
    """Tells of a trouble that lasts `FIRST_AFTER_S` seconds, and of each further minute of it."""

    def __init__(self) -> None:
        self._due_at: float | None = None
        """When to tell of the present trouble; None while there is none."""

    def check(
        self, now: float, *, is_open: bool, is_accepted: bool, is_subscribed: bool
    ) -> Trouble | None:
        """Return the trouble to tell of now."""
        if is_open:
            self._due_at = None
            return None
        if self._due_at is None:
            self._due_at = now + FIRST_AFTER_S
        if now < self._due_at:
            return None
        self._due_at = now + AGAIN_AFTER_S
        if is_accepted:
            return Trouble.NO_INGRESS
        return Trouble.NO_CONTROL if is_subscribed else Trouble.NOBODY
