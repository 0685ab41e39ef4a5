"""What the relay's journal holds, for those who catch clients up."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Protocol

from edge.core.catch_up.connection_catch_up import JournalRange
from edge.core.stats import EdgeStats
from edge.core.streams.record import Record, unreadable
from edge.core.streams.streams import Streams
from relay.shared.logs import LimitedLog
from relay.wire.control import ReplayReply
from relay.wire.errors import InvalidTopic, WireError
from relay.wire.header import unpack_stamp
from relay.wire.topics import decode_topic

logger = logging.getLogger(__name__)


class ReplayFailed(Exception):  # noqa: N818
    """The relay's answer lacks events that it ought to have."""


class Replayer(Protocol):
    """Asks the relay."""

    async def replay(self, stream: str, after: int, limit: int) -> ReplayReply:
        """Return the events of `stream` that follow `after`, however long that takes."""


class RelayLibrary:
    """See `edge.catch_up.Replayer`: what `streams` no longer remember is asked of the relay."""

    def __init__(self, streams: Streams, stats: EdgeStats) -> None:
        self._streams = streams
        self._stats = stats
        self._relay: Replayer | None = None
        self._went_on: asyncio.Event | None = None
        """Set when streams have gone on, if somebody waits for it."""
        self._log = LimitedLog(logger)

    def attach(self, relay: Replayer) -> None:
        """Ask `relay` from now on."""
        self._relay = relay

    async def fetch(self, missing: JournalRange) -> Sequence[Record]:
        """Return a part of what is asked for, from its beginning, and remember it.

        Empty when the relay has nothing of it, or when there is another epoch. Raises
        `ReplayFailed`.
        """
        assert self._relay is not None
        asked_under = self._streams.epoch
        reply = await self._relay.replay(*missing)
        stream = self._streams.get(missing.stream)
        if stream is None or asked_under != self._streams.epoch:
            return ()
        if reply.epoch != asked_under:
            await self.streams_went_on()
            return ()
        records = self.records(missing.stream, reply)
        self._stats.replayed[missing.stream] += len(records)
        if damaged := sum(not record.topic.text for record in records):
            self._stats.unreadable[InvalidTopic.reason] += damaged
        stream.history.low = max(stream.history.low, reply.low)
        stream.history.install(records)
        if not records and reply.low <= missing.after + 1:
            raise ReplayFailed(
                f"no {missing.stream} after {missing.after}, though {reply.tip} exist"
            )
        return records

    async def streams_went_on(self) -> None:
        """Wait until a stream has gone on, or begun anew."""
        if self._went_on is None:
            self._went_on = asyncio.Event()
        await self._went_on.wait()

    def streams_have_gone_on(self) -> None:
        """Wake whoever waits for it."""
        if self._went_on is not None:
            self._went_on.set()
            self._went_on = None

    def records(self, kind: str, reply: ReplayReply) -> list[Record]:
        """Take the items of `reply` apart; what cannot be read keeps its place in the stream."""
        records = []
        for topic_frame, stamp_frame, payload in reply.items:
            try:
                stamp = unpack_stamp(stamp_frame)
            except WireError as error:
                self._stats.unreadable[error.reason] += 1
                self._log.warning("stamp", "a replay breaks off: %s", error)
                break
            try:
                record = Record(decode_topic(topic_frame), stamp.offset, stamp.relayed_at, payload)
            except WireError as error:
                self._log.warning("topic", "a replayed event is malformed: %s", error)
                record = unreadable(kind, stamp.offset)
            records.append(record)
        return records
