"""One worker process: every object of the edge, and the order in which they start and end."""

import asyncio
import contextlib
import gc
import logging
import multiprocessing
import os
import signal
import time
from collections.abc import AsyncIterator
from functools import partial

from edge.catch_up import CatchUp
from edge.config import EdgeSettings
from edge.core.identity.tokens import Tokens
from edge.core.session import SessionServices
from edge.core.stats import EdgeStats
from edge.endpoint import ClientEndpoint
from edge.fanout import Fanout
from edge.http.metrics import EdgeCollector, edge_registry
from edge.scheduling.throttle import Pace
from edge.upstream.subscriber import RelayLink
from edge.websocket.broadcast import write_to_all

HOUSEKEEPING_S = 1.0
logger = logging.getLogger(__name__)


class Worker:
    """The objects of one worker process, on the event loop `loop`."""

    def __init__(
        self, settings: EdgeSettings, tokens: Tokens, loop: asyncio.AbstractEventLoop
    ) -> None:
        stats = EdgeStats()
        self.fanout = fanout = Fanout(
            stats, settings.topic_prefixes, settings.history_bytes, partial(write_to_all, stats)
        )
        services = SessionServices(
            fanout.manager, fanout.streams, fanout.snapshots, tokens, settings.session_limits
        )
        catch_up = CatchUp(fanout.library, stats)
        self.endpoint = ClientEndpoint(settings, services, catch_up, stats, loop)
        self.link = RelayLink(settings, fanout, self.endpoint, f"edge-{os.getpid()}")
        fanout.attach(self.link)
        fanout.library.attach(self.link)
        self.registry = edge_registry(
            EdgeCollector(fanout, self.endpoint, self.link, str(os.getpid()))
        )
        self._pace = Pace(loop, fanout.manager.flush)
        fanout.flush_by(self._pace.ask)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Follow the relay and serve clients while the body runs."""
        _tame_garbage_collection()
        self.link.start()
        housekeeping = asyncio.create_task(self._housekeep())
        try:
            yield
        finally:
            housekeeping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await housekeeping
            self._pace.close()
            self.endpoint.close()
            self.link.close()

    async def _housekeep(self) -> None:
        parent = multiprocessing.parent_process()
        while True:
            await asyncio.sleep(HOUSEKEEPING_S)
            try:
                self.endpoint.housekeep(time.time())
                self.fanout.housekeep()
            except Exception:
                # One fault of ours must not end housekeeping for good.
                logger.exception("housekeeping failed")
            if parent is not None and not parent.is_alive():
                logger.warning("the process that started this worker is gone: stopping")
                os.kill(os.getpid(), signal.SIGTERM)
                return


def _tame_garbage_collection() -> None:
    """Collect garbage less often, and never among the objects of the start.

    Reference counting frees clients when they go. With the default thresholds a storm of
    connections would have the collector walk thousands of live clients every few hundred objects.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)
