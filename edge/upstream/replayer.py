"""`JournalReplay`: fetches records that catch-ups lack from the relay's journal (section 7)."""

import asyncio
import logging
from collections.abc import Sequence

from edge.core.catch_up.connection_catch_up import JournalRange, ReplayFailed
from edge.core.stats import EdgeStats
from edge.core.streams.inbound import DAMAGED
from edge.core.streams.record import Record, read_items
from edge.core.streams.streams import Streams
from edge.upstream.requests import RelayRequests
from relay.shared.logs import LimitedLog
from relay.wire.errors import InvalidTopic

logger = logging.getLogger(__name__)


class JournalReplay:
    """Fetches records that `streams` do not remember, and remembers them: a `Replayer`."""

    def __init__(self, streams: Streams, requests: RelayRequests, stats: EdgeStats) -> None:
        self._streams = streams
        self._requests = requests
        self._stats = stats
        self._waiting: list[asyncio.Future[None]] = []
        """Coroutines in `streams_went_on`: at most one for each client that is caught up."""
        self._log = LimitedLog(logger)

    async def fetch(self, missing: JournalRange) -> Sequence[Record]:
        """Return the first part of the requested records, and remember it.

        Empty if the journal has none of them, or under another epoch. Raises `ReplayFailed` and
        `TooManyRequests`.
        """
        asked_under = self._streams.epoch
        reply = await self._requests.replay(*missing)
        stream = self._streams.get(missing.stream)
        if stream is None or asked_under != self._streams.epoch:
            return ()
        if reply.epoch != asked_under:
            # The relay is ahead of us: its next heartbeat will tell this edge of the new epoch.
            await self.streams_went_on()
            return ()
        records = read_items(missing.stream, reply.items, self._stats.unreadable, self._log.warning)
        self._stats.replayed[missing.stream] += len(records)
        for record in records:
            if not record.topic.text:
                reason = DAMAGED if record.is_lost else InvalidTopic.reason
                self._stats.unreadable[reason] += 1
        stream.history.raise_journal_first(reply.low)
        stream.history.install(records)
        if not records and reply.low <= missing.after + 1:
            # Without this a catch-up would request the same records for ever.
            raise ReplayFailed(
                f"no {missing.stream} after {missing.after}, though {reply.tip} exist"
            )
        return records

    async def streams_went_on(self) -> None:
        """Wait until a stream has advanced, or begun anew."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        await waiter

    def wake_waiting(self) -> None:
        """Wake the coroutines in `streams_went_on`: a batch of messages was taken."""
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            # One that was cancelled meanwhile, by its time limit for instance, is done.
            if not waiter.done():
                waiter.set_result(None)
