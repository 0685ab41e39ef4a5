"""Deadlines of one connection: for the next message, and for an answer after a long silence."""

from enum import Enum, auto

ATTEMPT_TIMEOUT_S = 10.0
CATCH_UP_TIMEOUT_S = 45.0
"""A resume may be silent for so long, while the edge reads events that are not for this client."""
SILENCE_LIMIT_S = 30.0
"""The edge sends `position` every 20 s. After this silence the client asks whether it is there."""


class Pulse(Enum):
    """The meaning of a moment in which a deadline may have passed."""

    ALIVE = auto()
    ASK = auto()
    """The connection is silent: ask whether the edge is there."""
    LOST = auto()


class Liveness:
    """Watches one connection. All times are monotonic, in seconds."""

    def __init__(self, now: float, *, may_catch_up: bool) -> None:
        self.may_catch_up = may_catch_up
        """Whether the edge may have to read missed events before its next message."""
        self._is_live = False
        self._is_asked = False
        self._deadline = now
        self.heard(now)

    @property
    def deadline(self) -> float:
        """The time at which `check` must be called, unless a message comes before."""
        return self._deadline

    @property
    def reason(self) -> str:
        """The reason of a lost connection."""
        return "The edge fell silent" if self._is_live else "No answer"

    def heard(self, now: float) -> None:
        """A message has arrived, or the application has read one that waited for it."""
        self._is_asked = False
        if self._is_live:
            self._deadline = now + SILENCE_LIMIT_S
        else:
            self._deadline = now + (CATCH_UP_TIMEOUT_S if self.may_catch_up else ATTEMPT_TIMEOUT_S)

    def live(self, now: float) -> None:
        """The edge has answered every subscription."""
        self._is_live = True
        self.heard(now)

    def check(self, now: float) -> Pulse:
        """Return the meaning of the time `now`; after `ASK` an answer has 10 s to come."""
        if now < self._deadline:
            return Pulse.ALIVE
        if not self._is_live or self._is_asked:
            return Pulse.LOST
        self._is_asked = True
        self._deadline = now + ATTEMPT_TIMEOUT_S
        return Pulse.ASK
