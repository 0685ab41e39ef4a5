"""`Worker`: the objects of one worker process, built bottom up, and their end."""

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import AsyncIterator
from functools import partial

from edge.catch_up_runner import CatchUpRunner
from edge.config import EdgeSettings
from edge.core.control.readiness import Readiness
from edge.core.hub.connections import ConnectionManager
from edge.core.hub.subscription_quota import SubscriptionQuota
from edge.core.identity.access import Access
from edge.core.identity.tokens import Tokens
from edge.core.session import SessionServices
from edge.core.stats import EdgeStats
from edge.core.streams.inbound import Inbound
from edge.core.streams.last_values import LastValues
from edge.core.streams.relay_state import RelayState
from edge.core.streams.snapshots import Snapshots
from edge.core.streams.streams import Streams
from edge.core.streams.task_board import TaskBoard
from edge.http.metrics import EdgeCollector
from edge.process import raised_room, stop_if_orphaned, tame_garbage_collection
from edge.scheduling.throttle import FlushThrottle
from edge.upstream.connection import connect
from edge.upstream.replayer import JournalReplay
from edge.upstream.subscriber import RelaySubscriber
from edge.websocket.broadcast import write_to_all
from edge.websocket.endpoint import CLOSE_TIMEOUT_S, ClientEndpoint
from edge.websocket.socket_cutter import SocketCutter
from relay.shared.logs import LimitedLog

HOUSEKEEPING_S = 1.0
logger = logging.getLogger(__name__)


class Worker:
    """Everything in one worker process. Build it on the running event loop, and use `running`.

    Subscriptions flow down to the relay and events flow up from it. The circle is broken by order:
    first the sockets, which nobody reads yet, then all that speaks on them, the clients, the
    streams, and last the subscriber that reads.
    """

    def __init__(
        self,
        settings: EdgeSettings,
        tokens: Tokens,
        access: Access,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """`access` decides what each client may see."""
        self.stats = stats = EdgeStats()
        relay = connect(settings, loop)
        quota = SubscriptionQuota(settings.quota_limits)
        manager = ConnectionManager(relay.subscriptions, partial(write_to_all, stats), quota)
        streams = Streams(
            settings.topic_prefixes, settings.history_bytes, stats.dropped, stats.unreadable
        )
        self.tasks = TaskBoard()
        live = LastValues()
        self._inbound = Inbound(
            streams, manager, self.tasks, live, stats, LimitedLog(logger).warning
        )
        self._replay = JournalReplay(streams, relay.requests, stats)
        snapshots = Snapshots(manager, streams, self.tasks, live)
        services = SessionServices(
            manager, streams, snapshots, access, tokens, settings.session_limits
        )
        catch_up = CatchUpRunner(self._replay, stats)
        room = raised_room(settings.max_connections)
        self.cutter = SocketCutter(loop, CLOSE_TIMEOUT_S)
        self.relay_state = RelayState(settings.relay_timeout_s)
        self.readiness = Readiness(self.relay_state, relay.requests.health)
        self.endpoint = ClientEndpoint(settings, services, catch_up, stats, room, self.readiness)
        self._throttle = FlushThrottle(loop, manager.flush)
        self._subscriber = RelaySubscriber(
            relay, self.relay_state, self._inbound, self.endpoint, self._end_batch
        )
        self.metrics = EdgeCollector(
            stats, manager, streams, self.endpoint, self.readiness, str(os.getpid())
        )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serve clients while the body runs, then end everything."""
        tame_garbage_collection()
        housekeeping = asyncio.create_task(self._housekeep())
        try:
            yield
        finally:
            housekeeping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await housekeeping
            self._throttle.close()
            self.endpoint.close()
            self.cutter.close()
            self._subscriber.close()

    def _end_batch(self) -> None:
        """Send the frames of a batch of the relay's messages, and let catch-ups continue."""
        self._throttle.ask()
        self._replay.wake_waiting()

    async def _housekeep(self) -> None:
        while True:
            await asyncio.sleep(HOUSEKEEPING_S)
            try:
                self.endpoint.housekeep(time.monotonic())
                self._inbound.forget_unwatched()
            except Exception:
                # One fault of ours must not end housekeeping for good.
                logger.exception("housekeeping failed")
            if stop_if_orphaned():
                return
