"""`DemandService`: takes the demand of edges, and tells the emitters that ask for it (section 4).

An emitter that has asked once is told of changes from then on, until its connection ends. A notice
that is lost shows at the next one, which comes every second.
"""

import logging
from collections.abc import Callable

from relay.core.demand import Demand, DemandRefused, DemandReport
from relay.shared.logs import LimitedLog
from relay.wire.control import ErrorReply, Reply
from relay.wire.control_message import MAX_PAGE_BYTES
from relay.wire.demand import DIGEST_BYTES, pack_digests, unpack_digests
from relay.wire.demand_messages import DemandReply, DemandRequest, WatchedReply, WatchedRequest
from relay.wire.notices import DemandNotice, pack_demand_notice

NOTICE_INTERVAL_S = 0.1
"""The least time between two notices of changes: more changes are told together."""
MAX_TOLD_CHANGES = 128
"""The most changes in a notice, 1 KiB; of more, only the version is told, and emitters ask."""
TICK_S = 1.0
"""Between two notices of the version, and between two looks at the leases."""
MAX_FOLLOWERS = 20_000
"""Emitters that are told; above it, the one that asked first is not told any more. It asks again
when it has heard no notice for a while."""

logger = logging.getLogger(__name__)


class DemandService:
    """Reports in, notices out. `now` is in seconds on a monotonic clock."""

    def __init__(
        self,
        demand: Demand,
        tell: Callable[[bytes, bytes], bool],
        now: float,
        max_page_topics: int = MAX_PAGE_BYTES // DIGEST_BYTES,
    ) -> None:
        """`tell` sends a peer a frame, and returns whether that peer is connected."""
        self._max_page_topics = max_page_topics
        self._demand = demand
        self._tell = tell
        self._followers: dict[bytes, None] = {}
        """Peers that have asked for the demand, the one that asked last at the end."""
        self._told_version = 0
        self._tick_at = now + TICK_S
        self._notice_at = now
        self._log = LimitedLog(logger)

    def report(self, request: DemandRequest, now: float) -> Reply:
        """Take a report of an edge."""
        report = DemandReport(
            request.after,
            request.version,
            unpack_digests(request.watch),
            unpack_digests(request.unwatch),
        )
        try:
            version = self._demand.report(request.edge, report, now)
        except DemandRefused as error:
            self._log.warning("demand", "refused the demand of an edge: %s", error)
            return ErrorReply(id=request.id, code="bad_request", message=str(error))
        return DemandReply(id=request.id, version=version)

    def answer(self, peer: bytes, request: WatchedRequest) -> WatchedReply:
        """Return what the emitter `peer` lacks, and tell it of changes from now on."""
        self._follow(peer)
        demand = self._demand
        if request.epoch == demand.epoch and request.cursor is None:
            difference = demand.difference(request.after)
            if difference is not None:
                return WatchedReply(
                    id=request.id,
                    epoch=demand.epoch,
                    after=difference.after,
                    version=difference.version,
                    snapshot=False,
                    watch=pack_digests(difference.watch),
                    unwatch=pack_digests(difference.unwatch),
                )
        cursor = request.cursor if request.epoch == demand.epoch else None
        page, following = demand.page(cursor, self._max_page_topics)
        return WatchedReply(
            id=request.id,
            epoch=demand.epoch,
            after=0 if cursor is None else request.after,
            version=demand.version,
            snapshot=True,
            watch=pack_digests(page),
            next=following,
        )

    def due_at(self) -> float:
        """Return when `tick` has something to do."""
        if self._demand.version != self._told_version:
            return min(self._notice_at, self._tick_at)
        return self._tick_at

    def tick(self, now: float) -> None:
        """Tell the emitters what is due. Called with every turn of the relay's loop."""
        if now >= self._tick_at:
            self._tick_at = now + TICK_S
            self._demand.expire(now)
            version = self._demand.version
            self._tell_all(DemandNotice(self._demand.epoch, version, version, b"", b""))
        if self._demand.version != self._told_version and now >= self._notice_at:
            # The first change goes at once; those that follow it quickly wait for each other.
            self._notice_at = now + NOTICE_INTERVAL_S
            self._tell_all(self._changes())
            self._told_version = self._demand.version

    def _changes(self) -> DemandNotice:
        demand = self._demand
        difference = demand.difference(self._told_version)
        if difference is None:
            return DemandNotice(demand.epoch, demand.version, demand.version, b"", b"")
        after, version, watch, unwatch = difference
        if len(watch) + len(unwatch) > MAX_TOLD_CHANGES:
            return DemandNotice(demand.epoch, version, version, b"", b"")
        return DemandNotice(
            demand.epoch, after, version, pack_digests(watch), pack_digests(unwatch)
        )

    def _follow(self, peer: bytes) -> None:
        self._followers.pop(peer, None)
        self._followers[peer] = None
        if len(self._followers) > MAX_FOLLOWERS:
            del self._followers[next(iter(self._followers))]

    def _tell_all(self, notice: DemandNotice) -> None:
        frame = pack_demand_notice(notice)
        gone = [peer for peer in self._followers if not self._tell(peer, frame)]
        for peer in gone:
            del self._followers[peer]
