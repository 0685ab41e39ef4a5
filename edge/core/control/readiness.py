"""`Readiness`: whether a client that comes now would get its events (protocol section 6)."""

from edge.core.control.control_health import ControlHealth
from edge.core.identity.revocations import Revocations
from edge.core.streams.relay_state import RelayPhase, RelayState
from edge.core.websocket.close_codes import Close, CloseCode, try_again

RETURNING_PER_S = 1_000
"""Clients that are sent away together are told to come back spread out like this, within
`MAX_RETRY_S`: refusing them again and again must leave the edge time to find the relay."""
MAX_RETRY_S = 10.0


class Readiness:
    """Joins the two connections to the relay: one brings events, the other what was missed."""

    def __init__(
        self, relay: RelayState, control: ControlHealth, revocations: Revocations | None = None
    ) -> None:
        """Without `revocations` no token is revoked."""
        self.relay = relay
        self.revocations = Revocations() if revocations is None else revocations
        self._needs_revocations = revocations is not None
        self._control = control
        self._retry_s = 1.0
        """Seconds after which clients should come back."""

    @property
    def trouble(self) -> str | None:
        """The reason for which new clients are refused; None while a resume would succeed.

        A relay that was restarted is no reason: newcomers get the same as the clients that stay.
        """
        if self.relay.phase is RelayPhase.SEARCHING:
            return "the relay's heartbeat is missing"
        if not self._control.is_answering:
            return "the relay does not answer requests"
        if not self._control.is_replaying:
            return "the relay does not replay events"
        if self._needs_revocations and not self.revocations.is_known:
            return "revoked tokens are not known yet"
        return None

    @property
    def refusal(self) -> Close | None:
        """The close for a new client, None while it is welcome."""
        trouble = self.trouble
        return None if trouble is None else try_again(trouble, self._retry_s)

    def send_away(self, clients: int) -> Close:
        """Return the close for all `clients` of the worker, which are to return spread out."""
        self._retry_s = min(MAX_RETRY_S, max(1.0, clients / RETURNING_PER_S))
        return try_again(self.trouble or CloseCode.TRY_AGAIN_LATER.meaning, self._retry_s)
