"""Answers the requests of the control socket (protocol section 4)."""

import logging
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, assert_never

from relay.call_service import CallService
from relay.core.emitters import Cursor, Reach, Refusal
from relay.core.permission import UNLIMITED, Rights
from relay.core.proofs import missing_events
from relay.demand_service import DemandService
from relay.journal.journal import JournalUnavailable
from relay.replay import Replay
from relay.shared.logs import LimitedLog
from relay.shared.newest import Newest
from relay.state import SharedState
from relay.wire.calls import CallRequest, ResultRequest, ServeRequest
from relay.wire.control import (
    PROTOCOL_VERSION,
    AccountReply,
    AccountRequest,
    ErrorReply,
    Head,
    Heartbeat,
    HelloReply,
    HelloRequest,
    ReplayRequest,
    Reply,
    Request,
    RetainedReply,
    RetainedRequest,
    StatsReply,
    StatsRequest,
    unpack_request,
)
from relay.wire.control_message import MAX_PAGE_BYTES
from relay.wire.demand_messages import DemandRequest, WatchedRequest
from relay.wire.errors import WireError
from relay.wire.peers import PeerRole, PublishRights

MAX_SHOWN_EMITTERS = 1_000
"""The emitters in a reply to `stats`: those that were admitted last."""
MAX_REPORTED_COUNTERS = 32
MAX_COUNTER_NAME_CHARS = 64
MAX_REPORTS = 1_000
MAX_REPORTS_BYTES = 512 * 1024
"""The reported counters of the emitters that reported last are kept."""
MAX_SHOWN_NUMBER = 2**64 - 1
"""The greatest integer of msgpack. Emitters can report any numbers, so that sums may exceed it."""

EPOCH_RANDOM_BITS = 30
"""Of a handed out epoch, so that a relay that has forgotten one does not hand it out again."""
MAX_CLOCK_AHEAD_NS = 60 * 10**9
"""An epoch from an emitter's own clock that is further ahead is the epoch of a wrong clock."""

_OtherRequest = (
    AccountRequest
    | CallRequest
    | DemandRequest
    | ReplayRequest
    | ResultRequest
    | RetainedRequest
    | ServeRequest
    | StatsRequest
    | WatchedRequest
)
"""Of the requests, those that are no hello."""

logger = logging.getLogger(__name__)


class _Admitted(NamedTuple):
    """The fields of a reply to hello for an emitter."""

    sequence: int
    proof: bytes | None
    emitter_epoch: int | None
    drops: int | None


class PassingOn(NamedTuple):
    """The services that pass on what one peer says to others."""

    demand: DemandService
    calls: CallService


class ControlService:
    """Turns one request frame into one reply.

    `started_at` is Unix time in milliseconds. `reach` finds out whether an emitter is connected.
    """

    def __init__(
        self,
        state: SharedState,
        heartbeat_s: float,
        started_at: int,
        uptime_s: Callable[[], float],
        reach: Reach,
        passing_on: PassingOn,
    ) -> None:
        self._state = state
        self._heartbeat_s = heartbeat_s
        self._started_at = started_at
        self._uptime_s = uptime_s
        self._reach = reach
        self._demand, self._calls = passing_on
        self._reports: Newest[bytes, dict[str, int]] = Newest(
            MAX_REPORTS, MAX_REPORTS_BYTES, _report_bytes
        )
        """The ids of the emitters whose reports are kept."""
        self._log = LimitedLog(logger)

    def heartbeat(self) -> Heartbeat:
        """Return the body of a heartbeat, and of the answer to a sync nonce."""
        journal = self._state.journal
        origin = journal.origin
        return Heartbeat(
            tips=journal.last_offsets,
            low={stream: state.first_offset for stream, state in journal.streams.items()},
            # Another file is like another process to those who have followed the first.
            started_at=self._started_at + journal.reopened,
            start=journal.start_offsets,
            journaling=self._state.intake.journaling,
            previous=origin.previous,
            began=None if origin.previous is None else dict(origin.began),
            heartbeat_s=self._heartbeat_s,
            damaged=journal.damage or None,
        )

    def answer(self, peer: bytes, frame: bytes, rights: Rights = UNLIMITED) -> Reply | Replay:
        """Return the reply to the request in `frame`, an error reply if it cannot be read.

        Of a replay with more than one piece, the rest is to be read by `go_on`.

        `peer` may ask for what its `rights` allow.
        """
        counters = self._state.counters
        try:
            request = unpack_request(frame)
        except WireError as error:
            counters.control_requests["refused"] += 1
            self._log.warning("request", "refused a control request: %s", error)
            # Its `id` may be missing or wrong.
            return ErrorReply(id=0, code="bad_request", message=str(error))
        counters.control_requests[request.op] += 1
        if refused := _refused(request, rights):
            counters.control_requests["forbidden"] += 1
            self._log.warning("forbidden", "refused a request of %r: %s", rights.name, refused)
            return ErrorReply(id=request.id, code="forbidden", message=refused)
        if isinstance(request, AccountRequest | HelloRequest) and request.emitter_id is not None:
            own = rights.own_id(request.emitter_id)
            request = request.model_copy(update={"emitter_id": own})
        if isinstance(request, HelloRequest):
            return self._hello(peer, request, rights)
        return self._answer(peer, request)

    def _answer(self, peer: bytes, request: _OtherRequest) -> Reply | Replay:
        match request:
            case AccountRequest():
                return self._account(peer, request)
            case CallRequest():
                return self._calls.call(peer, request, time.monotonic())
            case DemandRequest():
                return self._demand.report(request, time.monotonic())
            case ReplayRequest():
                return self._replay(request)
            case ResultRequest():
                return self._calls.result(peer, request)
            case RetainedRequest():
                return self._retained(request)
            case ServeRequest():
                return self._calls.serve(peer, request, time.monotonic())
            case StatsRequest():
                return StatsReply(id=request.id, stats=self._stats())
            case WatchedRequest():
                return self._demand.answer(peer, request)
            case _:
                assert_never(request)

    def _hello(self, peer: bytes, request: HelloRequest, rights: Rights) -> Reply:
        if request.protocol != PROTOCOL_VERSION:
            return ErrorReply(
                id=request.id,
                code="unsupported_protocol",
                message=f"this relay speaks protocol {PROTOCOL_VERSION}, not {request.protocol}",
            )
        admitted: _Admitted | None = None
        if request.emitter_id is not None:
            try:
                admitted = self._admit(peer, request, request.emitter_id)
            except Refusal as refusal:
                self._log.warning("hello", "refused an emitter: %s", refusal)
                return ErrorReply(id=request.id, code=refusal.code, message=str(refusal))
        if request.heads and request.epoch == self._state.journal.epoch:
            self._compare(request.name, request.heads)
        logger.debug("%s %s says hello", request.role, request.name)
        journal = self._state.journal
        return HelloReply(
            id=request.id,
            epoch=journal.epoch,
            journaled_kinds=tuple(journal.streams),
            tips=journal.last_offsets,
            heartbeat_s=self._heartbeat_s,
            **({} if admitted is None else admitted._asdict()),
            **({} if admitted is None or rights.publishing is None else _shown(rights.publishing)),
        )

    def _admit(self, peer: bytes, request: HelloRequest, emitter_id: bytes) -> "_Admitted | None":
        """Admit the emitter of `request`, or raise `Refusal`; None if it has no epoch."""
        emitters, reach = self._state.emitters, self._reach
        name, process = request.name, request.process or b""
        epoch, handed_out = request.emitter_epoch, None
        if epoch is None:
            if not process:
                return None
            fresh = time.time_ns() + secrets.randbits(EPOCH_RANDOM_BITS)
            epoch = handed_out = emitters.hand_out_epoch(emitter_id, name, process, fresh, reach)
        # Emitters of earlier versions take their epoch from their own clock.
        latest = time.time_ns() + MAX_CLOCK_AHEAD_NS
        # Without it the emitter knows of no acknowledged event.
        claim = Cursor(emitter_id, name, epoch, request.acknowledged or 0)
        knows_all = self._state.journal.knows_all_emitters
        missing = missing_events(claim, emitters.get(emitter_id), knows_all=knows_all)
        sequence = emitters.admit(claim, peer, reach, process=process, latest=latest)
        emitter = emitters.get(emitter_id)
        assert emitter is not None, "it was admitted"
        emitter.inherited = request.inherited or 0
        if missing:
            self._judge(claim, missing, request)
        # While the journal cannot be written, every event is dropped.
        drops = emitter.drops if self._state.intake.journaling else None
        return _Admitted(sequence, self._state.proof_of(emitter), handed_out, drops)

    def _judge(self, claim: Cursor, missing: int, request: HelloRequest) -> None:
        """Take `missing` acknowledged events for lost, if the relay has acknowledged them."""
        journal, emitters = self._state.journal, self._state.emitters
        present, previous = journal.epoch, journal.origin.previous
        # The present epoch may be newer than the last hello, after which it was acknowledged.
        epochs = [each for each in (present, previous, request.epoch) if each is not None]
        epoch = journal.proofs.epoch_of(claim, request.proof, epochs)
        if epoch is None:
            self._state.counters.unproven += 1
            self._log.warning(
                "unproven",
                "%r says that %d events are acknowledged which the journal does not have, and has"
                " no proof of it: they do not count as lost",
                claim.name,
                missing,
            )
            return
        emitter = emitters.get(claim.emitter_id)
        assert emitter is not None, "it was admitted"
        emitters.note_rollback(emitter, missing)
        if epoch == present:
            # Of an earlier epoch, this one has begun since because events were lost.
            journal.begin_epoch(f"{missing} acknowledged events of {claim.name!r} are missing")

    def _compare(self, name: str, heads: Mapping[str, Head]) -> None:
        """Begin a new epoch if an edge has received events that the journal does not hold."""
        for stream, (offset, checksum) in heads.items():
            if self._state.journal.contradicts(stream, offset, checksum):
                reason = f"{name!r} has {stream} {offset}, which is not in the journal"
                self._state.journal.begin_epoch(reason)
                return

    def go_on(self, replay: Replay) -> Reply | None:
        """Read the next piece of `replay`; return the reply if it is complete."""
        try:
            replay.go_on()
        except JournalUnavailable as error:
            self._log.error("replay", "%s", error)
            identifier = replay.request.id
            return ErrorReply(id=identifier, code="journal_unavailable", message=str(error))
        return replay.reply() if replay.is_complete else None

    def _replay(self, request: ReplayRequest) -> Reply | Replay:
        journal = self._state.journal
        if request.stream not in journal.streams:
            text = f"{request.stream!r} is not a stream of this relay"
            return ErrorReply(id=request.id, code="unknown_stream", message=text)
        replay = Replay(journal, request)
        return self.go_on(replay) or replay

    def _retained(self, request: RetainedRequest) -> Reply:
        retained = self._state.retained
        if request.exact:
            return RetainedReply(id=request.id, items=retained.of_topic(request.prefix))
        after = request.after or b""
        max_bytes = request.max_bytes or MAX_PAGE_BYTES
        page, following = retained.page(request.prefix, after, max_bytes)
        return RetainedReply(id=request.id, items=page, next=following)

    def _account(self, peer: bytes, request: AccountRequest) -> Reply:
        counters = request.counters
        if len(counters) > MAX_REPORTED_COUNTERS:
            text = f"counters: at most {MAX_REPORTED_COUNTERS} are accepted"
            return ErrorReply(id=request.id, code="bad_request", message=text)
        if any(len(name) > MAX_COUNTER_NAME_CHARS for name in counters):
            text = f"counters: a name has at most {MAX_COUNTER_NAME_CHARS} characters"
            return ErrorReply(id=request.id, code="bad_request", message=text)
        emitter = self._state.emitters.get(request.emitter_id)
        # The account of an earlier process may arrive after its successor was admitted.
        if emitter is not None and emitter.epoch == request.emitter_epoch:
            emitter.reported = counters
            for emitter_id in self._reports.keep(request.emitter_id, counters):
                if (forgotten := self._state.emitters.get(emitter_id)) is not None:
                    forgotten.reported = {}
            # Its control connection may have been replaced since its hello.
            emitter.peer = peer
        return AccountReply(id=request.id)

    def _stats(self) -> dict[str, Any]:
        state = self._state
        # The reply has to stay well below the limit of a frame.
        emitters = list(state.emitters)[-MAX_SHOWN_EMITTERS:]
        return {
            "epoch": state.journal.epoch,
            "uptime_s": round(self._uptime_s(), 3),
            "journaling": state.intake.journaling,
            **state.counters.as_dict(),
            "rollbacks": state.journal.rollbacks,
            "lost_by_rollback": min(state.emitters.lost_by_rollback, MAX_SHOWN_NUMBER),
            "watched_topics": len(state.demand),
            "waiting_calls": self._calls.waiting(time.monotonic()),
            "streams": {
                name: {
                    "low": stream.first_offset,
                    "tip": stream.last_offset,
                    "stored_bytes": stream.stored_bytes,
                    "retention": stream.retired,
                    "damaged": len(state.journal.damaged[name]),
                }
                for name, stream in state.journal.streams.items()
            },
            "emitters": [emitter.as_dict() for emitter in emitters],
        }


def _refused(request: Request, rights: Rights) -> str:
    """Return why a request is not allowed, "" if it is."""
    if not rights.may_ask(request.op):
        return f"{rights.name!r} may not ask for {request.op!r}"
    if isinstance(request, HelloRequest):
        if not rights.may_be(request.role):
            return f"{rights.name!r} is no {request.role}"
        # Both may begin a new epoch of the relay.
        if request.emitter_id is not None and not rights.may_be(PeerRole.EMITTER):
            return f"{rights.name!r} is no emitter, and has no events"
        if request.heads and not rights.may_be(PeerRole.EDGE):
            return f"{rights.name!r} is no edge, and has no heads"
    if isinstance(request, ServeRequest):
        for method in request.methods:
            if not rights.methods.match(method):
                return f"{rights.name!r} may not answer {method!r}"
    return ""


def _shown(rights: PublishRights) -> dict[str, Any]:
    """Return the fields of a reply to hello that say what the emitter may publish."""
    return {
        "publish": rights.topics.texts,
        "sources": rights.sources.texts,
        "users": rights.users.texts,
    }


def _report_bytes(counters: Mapping[str, int]) -> int:
    return sum(len(name.encode(errors="replace")) + 16 for name in counters)
