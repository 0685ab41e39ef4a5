"""`Channel`: the way in which a worker speaks to all workers of all edges (protocol section 6)."""

from dataclasses import dataclass, field
from typing import Any, Protocol

from edge.core.identity.revocations import Revocations
from edge.core.protocol.requests import Publish
from edge.core.websocket.close_codes import Close
from relay.wire.revocations import Revocation

DISCONNECT = "disconnect"
"""The name of the command that ends the connections of a user."""
PERMISSIONS_CHANGED = "permissions-changed"
"""The name of the command after which the rights of a user are asked for again."""


class RelayAway(Exception):  # noqa: N818 - the name says what it is at every call site
    """The relay has not taken a command in time; the text says whether it gets it later."""


class Channel(Protocol):
    """Publishes what is for other workers. It connects to the relay when it is used first."""

    async def take(self, request: Publish) -> str:
        """Emit what a client has published, and return the event's id."""

    def publish_state(self, name: str, value: Any) -> None:
        """Publish the newest `value` of a state. Never waits and never fails."""

    async def disconnect(self, username: str, close: Close) -> None:
        """Have every worker close the present connections of a user.

        Raises `RelayAway`, `WireError` for a wrong name, or `SettingsError`.
        """

    async def permissions_changed(self, username: str) -> None:
        """Have every worker ask again what a user may see. Raises what `disconnect` raises."""

    async def revoke(self, revocation: Revocation) -> None:
        """Have every worker refuse the tokens, and close what was opened with them.

        A `before` of 0 is the time at which the relay takes it. Raises what `disconnect` raises.
        """

    def publish_again(self, revocation: Revocation) -> None:
        """Publish what the relay's journal has lost. Never waits and never fails."""


@dataclass(frozen=True, slots=True)
class Teamwork:
    """The part of a worker in the work of all workers."""

    channel: Channel
    presence_kinds: frozenset[str] = frozenset()
    """The kinds of whose topics all workers know the subscribers."""
    revocations: Revocations = field(default_factory=Revocations)
    """The tokens that any of the workers has revoked."""
