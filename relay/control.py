"""Answers the requests of the control socket (protocol section 4)."""

import logging
from collections.abc import Callable
from typing import Any, assert_never

from relay.core.emitters import Cursor, Emitter, Emitters, Refusal
from relay.core.intake import Intake
from relay.core.retained import RetainedValues
from relay.core.stats import RelayCounters
from relay.journal.journal import Journal, JournalUnavailable
from relay.shared.logs import LimitedLog
from relay.wire.control import (
    MAX_PAGE_BYTES,
    PROTOCOL_VERSION,
    AccountReply,
    AccountRequest,
    ErrorReply,
    Heartbeat,
    HelloReply,
    HelloRequest,
    ReplayReply,
    ReplayRequest,
    Reply,
    Request,
    RetainedReply,
    RetainedRequest,
    StatsReply,
    StatsRequest,
    unpack_request,
)
from relay.wire.errors import WireError

MAX_SHOWN_EMITTERS = 1_000
MAX_REPORTED_COUNTERS = 32
MAX_SHOWN_NUMBER = 2**64 - 1
"""The greatest that msgpack carries; an emitter may say anything."""

logger = logging.getLogger(__name__)


class ControlDesk:
    """Turns one request frame into one reply.

    `is_connected` tells whether an emitter is still reached where it said hello.
    """

    def __init__(
        self,
        journal: Journal,
        emitters: Emitters,
        intake: Intake,
        retained: RetainedValues,
        counters: RelayCounters,
        heartbeat_s: float,
        started_at: int,
        uptime_s: Callable[[], float],
        is_connected: Callable[[Emitter], bool],
    ) -> None:
        self._journal = journal
        self._emitters = emitters
        self._intake = intake
        self._retained = retained
        self._counters = counters
        self._heartbeat_s = heartbeat_s
        self._started_at = started_at
        self._uptime_s = uptime_s
        self._is_connected = is_connected
        self._log = LimitedLog(logger)

    def heartbeat(self) -> Heartbeat:
        """What the relay says every second, and to whoever syncs."""
        return Heartbeat(
            tips=self._journal.tips,
            low={stream: state.low for stream, state in self._journal.streams.items()},
            started_at=self._started_at,
            journaling=self._intake.journaling,
        )

    def answer(self, peer: bytes, frame: bytes) -> Reply:
        """Return the reply to the request in `frame`, an error reply if it is not one."""
        try:
            request = unpack_request(frame)
        except WireError as error:
            self._counters.control_requests["refused"] += 1
            self._log.warning("request", "refused a control request: %s", error)
            return ErrorReply(id=0, code="bad_request", message=str(error))
        self._counters.control_requests[request.op] += 1
        return self._answer(peer, request)

    def _answer(self, peer: bytes, request: Request) -> Reply:
        match request:
            case AccountRequest():
                return self._take_account(request)
            case HelloRequest():
                return self._hello(peer, request)
            case ReplayRequest():
                return self._replay(request)
            case RetainedRequest():
                return self._remembered(request)
            case StatsRequest():
                return StatsReply(id=request.id, stats=self._stats())
            case _:
                assert_never(request)

    def _hello(self, peer: bytes, request: HelloRequest) -> Reply:
        if request.protocol != PROTOCOL_VERSION:
            return ErrorReply(
                id=request.id,
                code="unsupported_protocol",
                message=f"this relay speaks protocol {PROTOCOL_VERSION}, not {request.protocol}",
            )
        sequence: int | None = None
        if request.emitter_id is not None and request.emitter_epoch is not None:
            acknowledged = request.acknowledged or 0
            cursor = Cursor(request.emitter_id, request.name, request.emitter_epoch, acknowledged)
            try:
                sequence = self._emitters.admit(cursor, peer, self._is_connected)
            except Refusal as refusal:
                self._log.warning("hello", "refused an emitter: %s", refusal)
                return ErrorReply(id=request.id, code=refusal.code, message=str(refusal))
        logger.debug("%s %s says hello", request.role, request.name)
        return HelloReply(
            id=request.id,
            epoch=self._journal.epoch,
            journaled_kinds=tuple(self._journal.streams),
            tips=self._journal.tips,
            heartbeat_s=self._heartbeat_s,
            sequence=sequence,
        )

    def _replay(self, request: ReplayRequest) -> Reply:
        state = self._journal.streams.get(request.stream)
        if state is None:
            text = f"{request.stream!r} is not a stream of this relay"
            return ErrorReply(id=request.id, code="unknown_stream", message=text)
        try:
            items = self._journal.read(request.stream, request.after, request.limit, MAX_PAGE_BYTES)
        except JournalUnavailable as error:
            self._log.error("replay", "%s", error)
            return ErrorReply(id=request.id, code="journal_unavailable", message=str(error))
        return ReplayReply(
            id=request.id,
            epoch=self._journal.epoch,
            items=tuple(items),
            low=state.low,
            tip=state.tip,
        )

    def _remembered(self, request: RetainedRequest) -> Reply:
        if request.exact:
            item = self._retained.item(request.prefix)
            return RetainedReply(id=request.id, items=() if item is None else (item,))
        after = request.after or b""
        items, more = self._retained.page(request.prefix, after, MAX_PAGE_BYTES)
        return RetainedReply(id=request.id, items=items, next=items[-1].topic if more else None)

    def _take_account(self, request: AccountRequest) -> Reply:
        if len(request.counters) > MAX_REPORTED_COUNTERS:
            text = f"counters: at most {MAX_REPORTED_COUNTERS} are taken"
            return ErrorReply(id=request.id, code="bad_request", message=text)
        emitter = self._emitters.get(request.emitter_id)
        if emitter is not None and emitter.epoch == request.emitter_epoch:
            emitter.reported = request.counters
        return AccountReply(id=request.id)

    def _stats(self) -> dict[str, Any]:
        emitters = list(self._emitters)[-MAX_SHOWN_EMITTERS:]
        return {
            "epoch": self._journal.epoch,
            "uptime_s": round(self._uptime_s(), 3),
            "journaling": self._intake.journaling,
            **self._counters.as_dict(),
            "lost_by_rollback": min(self._emitters.lost_by_rollback, MAX_SHOWN_NUMBER),
            "streams": {
                stream: {
                    "low": state.low,
                    "tip": state.tip,
                    "stored_bytes": state.stored_bytes,
                    "retention": state.retired,
                }
                for stream, state in self._journal.streams.items()
            },
            "emitters": [emitter.as_dict() for emitter in emitters],
        }
