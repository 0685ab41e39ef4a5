"""`Worker`: the objects of one worker process, built bottom up, and their end."""

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import AsyncIterator
from functools import partial
from typing import Protocol

from starlette.requests import HTTPConnection

from edge.catch_up_runner import CatchUpRunner, SharedReads
from edge.channel import Teamwork
from edge.client_actions import ClientActions, OwnActions
from edge.config import EdgeSettings
from edge.cooperation import Cooperation
from edge.core.catch_up_budget import CatchUpBudget
from edge.core.control.readiness import Readiness
from edge.core.hub.connections import ConnectionManager, MembershipObserver
from edge.core.hub.subscription_quota import SubscriptionQuota
from edge.core.identity.access import Access
from edge.core.identity.tokens import TokenVerifier
from edge.core.session import SessionServices
from edge.core.stats import EdgeStats
from edge.core.streams.inbound import Inbound
from edge.core.streams.last_values import LastValues
from edge.core.streams.relay_state import RelayState
from edge.core.streams.snapshots import Snapshots
from edge.core.streams.streams import Streams
from edge.core.streams.task_board import TaskBoard
from edge.http.metrics import EdgeCollector
from edge.presence_service import Upstream
from edge.process import (
    raised_room,
    stop_if_orphaned,
    tame_garbage_collection,
)
from edge.rules import Rules
from edge.scheduling.throttle import FlushThrottle
from edge.upstream.connection import connect
from edge.upstream.replayer import JournalReplay
from edge.upstream.requests import RelayRequests
from edge.upstream.subscriber import RelaySubscriber
from edge.websocket.broadcast import write_to_all
from edge.websocket.endpoint import CLOSE_TIMEOUT_S, Application, ClientEndpoint
from edge.websocket.event_stream import SseStreams
from edge.websocket.socket_cutter import SocketCutter
from relay.shared.freed_memory import FreedMemory
from relay.shared.logs import LimitedLog

HOUSEKEEPING_S = 0.5
"""Clients whose token has expired are closed within a second."""
WORKER = "event_relay.worker"
"""The name of the `Worker` in the state of each request. An application has names of its own."""
logger = logging.getLogger(__name__)
_log = LimitedLog(logger)


class HostApplication(Application, MembershipObserver, OwnActions, Protocol):
    """The application in which this edge is, if it has functions of its own (`edge.host`)."""

    def begin(self, manager: ConnectionManager) -> None:
        """The worker begins to serve the connections of `manager`."""

    async def end(self) -> None:
        """The worker ends: finish what is begun, within seconds."""


class Worker:
    """Everything in one worker process. Build it on the running event loop, and use `running`.

    Subscriptions flow down to the relay and events flow up from it. The circle is broken by order:
    first the sockets, which nobody reads yet, then all that speaks on them, the clients, the
    streams, and last the subscriber that reads.
    """

    rules: Rules | None = None
    """The rules that may change while clients are connected."""

    def __init__(
        self,
        settings: EdgeSettings,
        tokens: TokenVerifier,
        access: Access,
        loop: asyncio.AbstractEventLoop,
        teamwork: Teamwork,
        application: HostApplication | None = None,
    ) -> None:
        self._application = application
        self.stats = stats = EdgeStats()
        relay, self.relay_state = connect(settings, loop), RelayState(settings.relay_timeout_s)
        deliver, quota = partial(write_to_all, stats), SubscriptionQuota(settings.quota_limits)
        self.others = Cooperation(teamwork, Upstream(relay, self.relay_state), stats)
        observers = self.others.observers(application)
        manager = ConnectionManager(relay.subscriptions, deliver, quota, observers)
        self.streams = streams = _streams(settings, stats)
        self.tasks, live = TaskBoard(), LastValues()
        self._inbound = Inbound(streams, manager, self.tasks, live, stats, _log.warning)
        self._replay = JournalReplay(streams, relay.requests, stats)
        snapshots = Snapshots(manager, streams, self.tasks, live)
        self.others.join(manager, self._inbound, snapshots)
        self.actions = ClientActions(manager, relay.calls, teamwork.channel.take, application)
        shared = manager, streams, snapshots, access, tokens, settings.session_limits
        others = self.actions, self.others.revocations, stats.arrivals.messages_refused
        services = SessionServices(*shared, *others)
        catch_up = CatchUpRunner(self._replay, stats, CatchUpBudget(settings.catch_up_limits))
        self.reads, self.event_streams = catch_up.reads, SseStreams(loop)
        _charge_users(self.reads, snapshots, relay.requests)
        self.cutter = SocketCutter(loop, CLOSE_TIMEOUT_S)
        self.readiness = Readiness(self.relay_state, relay.requests.health, self.others.revocations)
        room = raised_room(settings.max_connections)
        self.endpoint = ClientEndpoint(settings, services, catch_up, stats, room, self.readiness)
        self._manager, self._throttle = manager, FlushThrottle(loop, manager.flush)
        self._subscriber = RelaySubscriber(
            relay, self.relay_state, self._inbound, self.endpoint, self._end_batch
        )
        self.metrics = EdgeCollector(
            stats, manager, streams, self.endpoint, self.readiness, str(os.getpid())
        )

    @contextlib.asynccontextmanager
    async def running(self, *, owns_process: bool) -> AsyncIterator[None]:
        """Serve clients while the body runs, then end everything.

        With `owns_process`, the process does nothing else: its garbage collection is set for many
        clients, and it ends with the process that has started it.
        """
        if owns_process:
            tame_garbage_collection()
        self.others.permissions_changed = self.endpoint.recheck
        if self._application is not None:
            self.endpoint.application = self._application
            self._application.begin(self._manager)
        housekeeping = asyncio.create_task(self._housekeep(owns_process))
        try:
            yield
        finally:
            if self._application is not None:
                await self._application.end()
            housekeeping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await housekeeping
            self.actions.close()
            self._throttle.close()
            self.others.close()
            self.event_streams.close()
            self.endpoint.close()
            self.cutter.close()
            self._subscriber.close()

    def _end_batch(self) -> None:
        """Send the frames of a batch of the relay's messages, and let catch-ups continue."""
        self._throttle.ask()
        self._replay.wake_waiting()

    async def _housekeep(self, owns_process: bool) -> None:
        memory = FreedMemory()
        while True:
            await asyncio.sleep(HOUSEKEEPING_S)
            now = time.monotonic()
            try:
                self.endpoint.housekeep(now)
                self._inbound.forget_unwatched()
                if self.rules is not None and await self.rules.look():
                    self.endpoint.recheck()
            except Exception:
                # One fault of ours must not end housekeeping for good.
                logger.exception("housekeeping failed")
            if owns_process:
                memory.tick(now)
                if stop_if_orphaned():
                    return


def worker_of(connection: HTTPConnection) -> Worker:
    """Return the worker that serves a request or a WebSocket."""
    worker: Worker = connection.scope["state"][WORKER]
    return worker


def _streams(settings: EdgeSettings, stats: EdgeStats) -> Streams:
    return Streams(settings.topic_prefixes, settings.history_bytes, stats.dropped, stats.unreadable)


def _charge_users(reads: SharedReads, snapshots: Snapshots, requests: RelayRequests) -> None:
    """Have last values, from memory and from the relay, cost the budgets of their users."""
    snapshots.spend = reads.spend
    requests.charge(reads.may_spend, reads.spend_retained)
