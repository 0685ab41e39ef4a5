"""`DemandLog`: the live topics that this worker's clients watch, and what the relay knows of them.

Changes are reported one request at a time, under versions of this worker (protocol section 4). A
reply with another version shows that the relay lacks some, and the report begins anew.
"""

from dataclasses import dataclass
from itertools import islice

from relay.shared.digest_set import DigestSet
from relay.wire.demand import MAX_CHANGES, MAX_DEMAND_TOPICS, topic_digest

RETRY_S = 1.0
"""An unanswered report is sent again after this time."""
RENEW_S = 1.0
"""Without a change, a report renews the lease of the earlier ones."""
REFUSED_S = 10.0
"""After a refusal the report begins anew."""


@dataclass(frozen=True, slots=True)
class ReportedChanges:
    """The fields of a `demand` request."""

    after: int
    version: int
    watch: tuple[int, ...] = ()
    unwatch: tuple[int, ...] = ()


class DemandLog:
    """Watched topics, bounded by the subscriptions that clients may have. `now` is in seconds."""

    def __init__(self) -> None:
        self._topics = DigestSet()
        self._unreported: dict[int, bool] = {}
        """Topics to whether they are watched, where the relay may know otherwise."""
        self._version = 0
        """Of the newest report; no other report has it."""
        self._acknowledged = 0
        """The version that the relay knows, 0 if it has to begin anew."""
        self._unanswered: ReportedChanges | None = None
        self._next_at = 0.0
        """When a report is sent again, or the lease is renewed."""
        self._is_refused = False

    @property
    def is_complete(self) -> bool:
        """Whether the relay is told every watched topic, as far as it takes them."""
        return not self._is_refused and len(self._topics) <= MAX_DEMAND_TOPICS

    def watch(self, topic: str) -> None:
        """A client watches `topic`; the first one."""
        self._change(topic_digest(topic), is_watched=True)

    def unwatch(self, topic: str) -> None:
        """No client watches `topic` any more."""
        self._change(topic_digest(topic), is_watched=False)

    def report(self, now: float) -> ReportedChanges | None:
        """Return the report that is due, which counts as sent; None if none is."""
        if self._unanswered is not None:
            if now < self._next_at:
                return None
            self._next_at = now + RETRY_S
            return self._unanswered
        if not self._is_due(now):
            return None
        if self._is_refused:
            self._is_refused = False
            self.begin_anew()
        self._unanswered = self._next_report()
        self._next_at = now + RETRY_S
        return self._unanswered

    def was_not_sent(self) -> None:
        """The socket did not take the last report: it is due again at once."""
        self._next_at = 0.0

    def take_reply(self, version: int, now: float) -> None:
        """The relay has answered the last report: it knows `version`."""
        if self._unanswered is None:
            return
        if version == self._unanswered.version:
            self._acknowledged = version
            self._unanswered = None
            self._next_at = now + RENEW_S
        else:
            self.begin_anew()

    def take_refusal(self, now: float) -> None:
        """The relay takes no report of this worker now."""
        self.begin_anew()
        self._is_refused = True
        self._next_at = now + REFUSED_S

    def begin_anew(self) -> None:
        """Report every topic again: the relay knows none, or nobody knows which."""
        self._unanswered = None
        self._acknowledged = 0
        self._unreported = dict.fromkeys(self._topics, True)

    def _change(self, digest: int, *, is_watched: bool) -> None:
        if self._topics.add(digest) if is_watched else self._topics.discard(digest):
            self._unreported[digest] = is_watched

    def _is_due(self, now: float) -> bool:
        if self._is_refused or len(self._topics) > MAX_DEMAND_TOPICS:
            # The earlier reports end with their lease.
            return now >= self._next_at and len(self._topics) <= MAX_DEMAND_TOPICS
        if self._unreported:
            return True
        return bool(self._topics) and now >= self._next_at

    def _next_report(self) -> ReportedChanges:
        changes = dict(islice(self._unreported.items(), MAX_CHANGES))
        for digest in changes:
            del self._unreported[digest]
        after = self._acknowledged
        if changes or not after:
            self._version += 1
        return ReportedChanges(
            after,
            self._version,
            tuple(digest for digest, is_watched in changes.items() if is_watched),
            tuple(digest for digest, is_watched in changes.items() if not is_watched),
        )
