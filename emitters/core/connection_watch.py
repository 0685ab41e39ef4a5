"""Troubles that keep events from the relay, and the times at which an emitter tells of them.

An emitter with a wrong address would otherwise wait in silence until its outbox is full.
"""

from typing import NamedTuple

from emitters.core.emitter_state import EmitterStatus

FIRST_AFTER_S = 3.0
"""A relay that is not there is told after this time: at the start it may follow at once."""
AGAIN_AFTER_S = 60.0


class Trouble(NamedTuple):
    """One reason for which events do not reach the relay."""

    status: EmitterStatus
    text: str
    """A log line; may name `{ingress}` and `{control}`, the addresses of the relay."""


NOBODY = Trouble(
    EmitterStatus.CONNECTING,
    "no relay at {ingress} and {control}; events wait. Is the relay running, and are"
    " EMITTER_RELAY_INGRESS and EMITTER_RELAY_CONTROL its RELAY_INGRESS and RELAY_CONTROL?",
)
NO_CONTROL = Trouble(
    EmitterStatus.CONNECTING,
    "a relay is at {ingress}, but nobody answers at {control}; events wait."
    " Is EMITTER_RELAY_CONTROL the RELAY_CONTROL of that relay?",
)
NO_INGRESS = Trouble(
    EmitterStatus.CONNECTING,
    "the relay at {control} answers, but does not subscribe at {ingress}; events wait."
    " Is EMITTER_RELAY_INGRESS the RELAY_INGRESS of that relay?",
)

NO_REQUESTS = Trouble(
    EmitterStatus.CONNECTING,
    "no relay answers at {control}; no requests arrive. Is the relay running, and is"
    " EMITTER_RELAY_CONTROL its RELAY_CONTROL?",
)
"""Of a process that answers requests."""


class ConnectionWatch:
    """Decides when to tell of a trouble: a refusal at once, a relay that is missing after
    `FIRST_AFTER_S` seconds, and both again after each further minute."""

    def __init__(self) -> None:
        self._refusal: Trouble | None = None
        """The refusal that was told last, while it lasts."""
        self._due_at: float | None = None
        """When to tell of the present trouble; None while there is none."""

    def is_due(self, now: float, trouble: Trouble | None) -> bool:
        """Return whether to tell of `trouble` now."""
        if trouble is None:
            self._due_at = self._refusal = None
            return False
        if trouble.status is EmitterStatus.CONNECTING:
            self._refusal = None
            if self._due_at is None:
                self._due_at = now + FIRST_AFTER_S
        elif trouble != self._refusal:
            self._refusal = trouble
            self._due_at = now
        assert self._due_at is not None
        if now < self._due_at:
            return False
        self._due_at = now + AGAIN_AFTER_S
        return True
