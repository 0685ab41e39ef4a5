"""Answers the requests of the control socket (protocol section 4)."""

import logging
from collections.abc import Callable
from typing import Any, assert_never

from relay.core.cursors import Cursors
from relay.core.retained import Retained as RetainedValues
from relay.core.sequencer import Sequencer
from relay.core.stats import Stats as Counters
from relay.logs import LimitedLog
from relay.wire.control import (
    MAX_PAGE_BYTES,
    PROTOCOL_VERSION,
    ErrorReply,
    Hello,
    HelloReply,
    Received,
    ReceivedReply,
    Reply,
    Request,
    Retained,
    RetainedReply,
    Stats,
    StatsReply,
    unpack_request,
)
from relay.wire.errors import WireError

logger = logging.getLogger(__name__)


class ControlDesk:
    """Turns one request frame into one reply."""

    def __init__(
        self,
        sequencer: Sequencer,
        retained: RetainedValues,
        cursors: Cursors,
        counters: Counters,
        heartbeat_s: float,
        uptime_s: Callable[[], float],
    ) -> None:
        self._sequencer = sequencer
        self._retained = retained
        self._cursors = cursors
        self._counters = counters
        self._heartbeat_s = heartbeat_s
        self._uptime_s = uptime_s
        self._log = LimitedLog(logger)

    def answer(self, frame: bytes) -> Reply:
        """Return the reply to the request in `frame`, an error reply if it is not one."""
        try:
            request = unpack_request(frame)
        except WireError as error:
            self._counters.control_requests["refused"] += 1
            self._log.warning("request", "refused a control request: %s", error)
            return ErrorReply(id=0, code="bad_request", message=str(error))
        self._counters.control_requests[request.op] += 1
        return self._answer(request)

    def _answer(self, request: Request) -> Reply:
        match request:
            case Hello():
                return self._hello(request)
            case Received():
                sequence = self._cursors.sequence_of(request.emitter_id)
                return ReceivedReply(id=request.id, sequence=sequence)
            case Retained():
                return self._remembered(request)
            case Stats():
                return StatsReply(id=request.id, stats=self._stats())
            case _:
                assert_never(request)

    def _hello(self, request: Hello) -> Reply:
        if request.protocol != PROTOCOL_VERSION:
            return ErrorReply(
                id=request.id,
                code="unsupported_protocol",
                message=f"this relay speaks protocol {PROTOCOL_VERSION}, not {request.protocol}",
            )
        logger.info("%s %s says hello", request.role, request.name)
        return HelloReply(
            id=request.id,
            epoch=self._sequencer.epoch,
            journaled_kinds=self._sequencer.journaled_kinds,
            tips=self._sequencer.tips,
            heartbeat_s=self._heartbeat_s,
        )

    def _remembered(self, request: Retained) -> Reply:
        if request.exact:
            item = self._retained.item(request.prefix)
            return RetainedReply(id=request.id, items=() if item is None else (item,))
        after = request.after or b""
        items, more = self._retained.page(request.prefix, after, MAX_PAGE_BYTES)
        return RetainedReply(id=request.id, items=items, next=items[-1].topic if more else None)

    def _stats(self) -> dict[str, Any]:
        return {
            "epoch": self._sequencer.epoch,
            "tips": self._sequencer.tips,
            "uptime_s": round(self._uptime_s(), 3),
            **self._counters.as_dict(),
        }
