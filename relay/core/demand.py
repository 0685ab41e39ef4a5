"""`Demand`: the live topics that somebody watches, gathered from all edges (protocol section 4).

Each edge reports its watched topics as changes under versions of its own, and renews the report
before its lease ends. The relay numbers every change of the union, keeps the newest ones for
emitters that are a little behind, and pages of the whole for the others.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

from relay.shared.digest_set import DigestSet
from relay.wire.demand import MAX_DEMAND_TOPICS

LEASE_S = 5.0
"""The report of an edge that is silent for so long ends: it may have been killed."""
LATE_S = 1.0
"""If `expire` is called later than this, the relay itself stood still: every lease begins anew."""
MAX_EDGES = 1_024
"""Reporting workers of edges. A further one is refused and subscribes without hints."""
MAX_TOPICS = 1_048_576
"""Watched topics of all edges together, about 10 MiB. An edge whose report passes it is refused."""
MAX_KEPT_CHANGES = 8_192


class DemandRefused(Exception):  # noqa: N818 - clear without a suffix
    """The report of an edge would pass a bound; the text names it."""


class DemandReport(NamedTuple):
    """A change of one edge's demand, from its version `after` to `version`."""

    after: int
    """0 if the report begins anew: nothing is watched before it."""
    version: int
    watch: Iterable[int] = ()
    unwatch: Iterable[int] = ()


class DemandDifference(NamedTuple):
    """The changes of the union from `after` to `version`; of each topic, the last one."""

    after: int
    version: int
    watch: list[int]
    unwatch: list[int]


@dataclass(slots=True)
class _Reporter:
    """One worker of an edge."""

    heard_at: float
    version: int = 0
    topics: DigestSet = field(default_factory=DigestSet)


class Demand:
    """The union of the reports of all edges. `now` is in seconds."""

    def __init__(self, epoch: int, max_kept_changes: int = MAX_KEPT_CHANGES) -> None:
        """`epoch` tells the versions of this relay from those of another one."""
        self.epoch = epoch
        self.version = 0
        """The number of changes of the union so far."""
        self._reporters: dict[bytes, _Reporter] = {}
        self._union = DigestSet()
        self._changes: deque[tuple[int, bool]] = deque(maxlen=max_kept_changes)
        """The newest changes of the union: a topic, and whether it is watched since then."""
        self._expired_at = 0.0

    def __len__(self) -> int:
        return len(self._union)

    def __contains__(self, digest: int) -> bool:
        return digest in self._union

    def report(self, edge: bytes, report: DemandReport, now: float) -> int:
        """Take a report of `edge`; return the version that the relay now knows of it.

        If that is not the report's version, the relay lacks something, and the edge begins anew
        with `after` 0. A report that came before changes nothing. Raises `DemandRefused`; the
        earlier reports of the edge are forgotten then.
        """
        known = self._reporters.get(edge)
        if known is not None:
            known.heard_at = now
            if report.version <= known.version:
                return known.version
        if report.after == 0:
            known = self._begin(edge, now)
        elif known is None or report.after != known.version:
            return 0 if known is None else known.version
        for digest in report.unwatch:
            if known.topics.discard(digest):
                self._removed(digest)
        for digest in report.watch:
            if known.topics.add(digest) and self._union.add(digest):
                self._note(digest, is_watched=True)
        known.version = report.version
        if len(known.topics) > MAX_DEMAND_TOPICS or len(self._union) > MAX_TOPICS:
            self._forget(edge)
            raise DemandRefused("more topics are watched than this relay remembers")
        return report.version

    def expire(self, now: float) -> None:
        """End the reports of edges that were silent for `LEASE_S`. Called about once a second."""
        is_late = now - self._expired_at > LATE_S + LEASE_S / 2
        self._expired_at = now
        for edge, reporter in list(self._reporters.items()):
            if is_late:
                # The silence was ours: the edge's report may wait in the socket.
                reporter.heard_at = now
            elif now - reporter.heard_at > LEASE_S:
                self._forget(edge)

    def difference(self, after: int) -> DemandDifference | None:
        """Return the changes after the version `after`, None if they are not kept any more."""
        missing = self.version - after
        if not 0 <= missing <= len(self._changes):
            return None
        newest = dict(islice(self._changes, len(self._changes) - missing, None))
        watch = [digest for digest, is_watched in newest.items() if is_watched]
        unwatch = [digest for digest, is_watched in newest.items() if not is_watched]
        return DemandDifference(after, self.version, watch, unwatch)

    def page(self, cursor: int | None, max_count: int) -> tuple[list[int], int | None]:
        """Return watched topics above `cursor`, and the cursor of the next page if there is one."""
        found = self._union.page(cursor, max_count)
        return found, found[-1] if len(found) == max_count else None

    def _begin(self, edge: bytes, now: float) -> _Reporter:
        self._forget(edge)
        if len(self._reporters) >= MAX_EDGES:
            raise DemandRefused(f"{MAX_EDGES} workers of edges report their demand already")
        reporter = self._reporters[edge] = _Reporter(now)
        return reporter

    def _forget(self, edge: bytes) -> None:
        reporter = self._reporters.pop(edge, None)
        if reporter is not None:
            for digest in reporter.topics:
                self._removed(digest)

    def _removed(self, digest: int) -> None:
        """One edge no longer watches `digest`; perhaps another one does."""
        if not any(digest in each.topics for each in self._reporters.values()):
            self._union.discard(digest)
            self._note(digest, is_watched=False)

    def _note(self, digest: int, *, is_watched: bool) -> None:
        self.version += 1
        self._changes.append((digest, is_watched))
