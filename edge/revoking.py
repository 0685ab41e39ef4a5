"""`Revoking`: ends the connections whose tokens are revoked, and revokes tokens (section 6)."""

import logging
from collections.abc import Iterable
from typing import cast

from edge.channel import Channel
from edge.core.hub.ages import ConnectionAges
from edge.core.hub.audience import Connection
from edge.core.hub.connections import ConnectionManager
from edge.core.identity.revocations import Revocations
from edge.core.websocket.close_codes import TOKEN_REVOKED
from edge.disconnection import ClosableConnection
from relay.wire.revocations import Revocation

logger = logging.getLogger(__name__)


class Revoking:
    """Acts on what `RevocationStream` reads; a `RevocationTaker`."""

    def __init__(
        self,
        manager: ConnectionManager,
        ages: ConnectionAges,
        revocations: Revocations,
        channel: Channel | None,
    ) -> None:
        """`ages` is by the relay's clock, as the times of revocations are."""
        self._manager = manager
        self._ages = ages
        self._revocations = revocations
        self._channel = channel

    def revoked(self, revocation: Revocation) -> None:
        """Close the connections that were made with the tokens."""
        username = revocation.username
        everybody = username is None
        connections = self._manager if everybody else self._manager.connections_of(username or "")
        for connection in tuple(connections):
            if self._concerns(revocation, connection):
                cast(ClosableConnection, connection).close(TOKEN_REVOKED)

    def journal_lacks(self, revocations: Iterable[Revocation]) -> None:
        """Publish them again: workers that start later know them from the journal alone."""
        if self._channel is not None:
            for revocation in revocations:
                self._channel.publish_again(revocation)

    def _concerns(self, revocation: Revocation, connection: Connection) -> bool:
        if self._revocations.refuses(connection.identity):
            return True
        # A connection that is older than the revocation was made with a token that is older,
        # whatever the clock of its issuer says.
        return revocation.token_id is None and self._ages.existed(connection, revocation.before)
