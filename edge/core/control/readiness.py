"""`Readiness`: whether a client that comes now would get its events (protocol section 6)."""

from edge.core.control.control_health import ControlHealth
from edge.core.streams.relay_state import RelayState


class Readiness:
    """Joins the two connections to the relay: one brings events, the other what was missed."""

    def __init__(self, relay: RelayState, control: ControlHealth) -> None:
        self.relay = relay
        self._control = control

    @property
    def trouble(self) -> str | None:
        """The reason for which new clients are refused; None while a resume would succeed."""
        if not self.relay.is_alive:
            return "the relay's heartbeat is missing"
        if not self._control.is_answering:
            return "the relay does not answer requests"
        if not self._control.is_replaying:
            return "the relay does not replay events"
        return None
