"""`Cooperation`: the part of a worker in the work of all workers (protocol section 6)."""

import asyncio
import logging
from collections.abc import Callable

from edge.channel import PERMISSIONS_CHANGED, Channel, Teamwork
from edge.core.hub.ages import ConnectionAges
from edge.core.hub.connections import ConnectionManager, MembershipObserver
from edge.core.hub.observers import Observers
from edge.core.identity.revocations import Revocations
from edge.core.stats import EdgeStats
from edge.core.streams.inbound import Inbound
from edge.core.streams.revocation_stream import RevocationStream
from edge.core.streams.snapshots import Snapshots
from edge.disconnection import Disconnection
from edge.presence_service import PresenceService, Upstream
from edge.revoking import Revoking
from relay.shared.logs import LimitedLog
from relay.wire.envelope import Envelope
from relay.wire.topics import EDGE, Topic

logger = logging.getLogger(__name__)


def _nothing(username: str) -> None:
    """Nobody is connected yet."""


class Cooperation:
    """Hands the messages of other workers to those whom they concern; an `InternalEvents`."""

    presence: PresenceService | None = None
    """None if no kind has presence."""
    permissions_changed: Callable[[str], None] = _nothing
    """Has the subscriptions of a user checked again."""

    def __init__(self, teamwork: Teamwork | None, upstream: Upstream, stats: EdgeStats) -> None:
        """Needs a running event loop. Without `teamwork` it listens and says nothing."""
        self._teamwork = teamwork
        self.revocations = Revocations() if teamwork is None else teamwork.revocations
        self._state = upstream.state
        self._loop = asyncio.get_running_loop()
        self._ages = ConnectionAges(self._relay_time)
        self._stats = stats
        self._disconnection: Disconnection | None = None
        if teamwork is not None and teamwork.presence_kinds:
            self.presence = PresenceService(teamwork, upstream, stats)

    @property
    def channel(self) -> Channel | None:
        """The way to the other workers."""
        return None if self._teamwork is None else self._teamwork.channel

    def observers(self, application: MembershipObserver | None) -> Observers:
        """Return those who learn what the connections of this worker do, with `application`."""
        found = (self._ages, self.presence, application)
        return Observers([each for each in found if each is not None])

    def join(self, manager: ConnectionManager, inbound: Inbound, snapshots: Snapshots) -> None:
        """Take part from now on, with the connections of `manager`."""
        self._disconnection = Disconnection(manager, self._ages)
        inbound.internal = self
        revoking = Revoking(manager, self._ages, self.revocations, self.channel)
        inbound.revocations = RevocationStream(
            self.revocations, revoking, self._stats, self._relay_time, LimitedLog(logger).warning
        )
        if self.presence is not None:
            snapshots.presence = self.presence.state
            self.presence.begin(manager)

    def close(self) -> None:
        """Take leave of the others."""
        if self.presence is not None:
            self.presence.close()

    # As `InternalEvents`.

    def command(self, topic: Topic, relayed_at: int, envelope: Envelope) -> None:
        """Do as a command says. Raises `InvalidEnvelope`."""
        if topic.subject == f"{EDGE}:{PERMISSIONS_CHANGED}":
            assert envelope.username is not None, "a personal event is always addressed"
            self.permissions_changed(envelope.username)
        elif self._disconnection is not None:
            self._disconnection.command(topic, relayed_at, envelope)

    def state(self, topic: Topic, data: object, *, is_live: bool) -> None:
        """Take a value of another worker. Raises `InvalidEnvelope`."""
        if self.presence is not None:
            self.presence.take(topic.text.partition(":")[2], data, is_live=is_live)

    def _relay_time(self) -> int:
        return self._state.clock.at(self._loop.time())
