"""`Disconnection`: closes the connections of a user when a command says so (protocol section 6)."""

import logging
from typing import Protocol, cast

from edge.channel import DISCONNECT
from edge.core.hub.ages import ConnectionAges
from edge.core.hub.audience import Connection
from edge.core.hub.connections import ConnectionManager
from edge.core.websocket.close_codes import MAX_REASON_BYTES, Close, CloseCode
from relay.wire.envelope import Envelope
from relay.wire.errors import InvalidEnvelope
from relay.wire.topics import Topic

logger = logging.getLogger(__name__)


class ClosableConnection(Connection, Protocol):
    """A connection of a client."""

    def close(self, close: Close) -> None:
        """Send a close frame."""


class Disconnection:
    """Takes the commands to edges, each once and in the order of the stream `addressed`."""

    def __init__(self, manager: ConnectionManager, ages: ConnectionAges) -> None:
        """`ages` is by the relay's clock, as the times of commands are."""
        self._manager = manager
        self._ages = ages

    def command(self, topic: Topic, relayed_at: int, envelope: Envelope) -> None:
        """Do as a command says. Raises `InvalidEnvelope`."""
        name = topic.subject.partition(":")[2]
        if name != DISCONNECT:
            # A newer edge may know it.
            logger.warning("the command %r to edges is not known here", name)
            return
        close = _close_of(envelope)
        assert envelope.username is not None, "a personal event is always addressed"
        for connection in self._manager.connections_of(envelope.username):
            if self._ages.existed(connection, relayed_at):
                cast(ClosableConnection, connection).close(close)


def _close_of(envelope: Envelope) -> Close:
    data = envelope.data
    code, reason = (
        (data.get("code"), data.get("reason")) if isinstance(data, dict) else (None, None)
    )
    if code is None:
        return CloseCode.DISCONNECTED.close()
    if not (isinstance(code, int) and 4000 <= code <= 4999):
        raise InvalidEnvelope("data.code", "must be 4000 to 4999")
    if reason is None:
        reason = CloseCode.DISCONNECTED.meaning
    if not (isinstance(reason, str) and len(reason.encode()) <= MAX_REASON_BYTES):
        raise InvalidEnvelope("data.reason", f"must be text of {MAX_REASON_BYTES} bytes at most")
    return Close(code, reason)
