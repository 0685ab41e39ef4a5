"""`WatchedTopics`: the relay's demand as this emitter knows it (protocol section 4).

It is requested when it is needed for the first time: an emitter without live topics never has it.
From then on the relay's notices keep it current, and a request repairs what they leave out.
"""

from dataclasses import dataclass
from typing import NamedTuple

from relay.shared.digest_set import DigestSet
from relay.wire.demand import topic_digest, unpack_digests
from relay.wire.demand_messages import WatchedReply
from relay.wire.notices import DemandNotice

RETRY_S = 1.0
"""A request is sent again when it is unanswered for so long."""
SILENCE_S = 5.0
"""The relay tells its version every second. After this time without a notice it is asked: it may
have been restarted, or tell this emitter no longer."""


@dataclass(frozen=True, slots=True)
class WatchedQuestion:
    """The fields of a `watched` request."""

    epoch: int
    after: int
    cursor: int | None


class _Pages(NamedTuple):
    """The pages of all topics that have arrived, while more follow."""

    topics: DigestSet
    next_question: WatchedQuestion


class WatchedTopics:
    """The digests of the watched topics, at one version of the relay's demand.

    The link thread calls the methods; any thread may ask `names`. `now` is in seconds.
    """

    def __init__(self) -> None:
        self._topics = DigestSet()
        self._epoch = 0
        self._version = 0
        self._is_needed = False
        """Whether a topic was asked for."""
        self._is_behind = True
        """Whether the relay has another version."""
        self._pages: _Pages | None = None
        self._asked_at: float | None = None
        """When the unanswered request was sent."""
        self._heard_at = 0.0

    @property
    def is_needed(self) -> bool:
        """Whether a topic was asked for; before that, nothing is requested."""
        return self._is_needed

    def names(self, topic: str) -> bool:
        """Whether the demand names `topic`, as far as it is known."""
        self._is_needed = True
        return topic_digest(topic) in self._topics

    def take_notice(self, notice: DemandNotice, now: float) -> bool:
        """Take a notice; return whether another topic may be watched now."""
        self._heard_at = now
        if notice.epoch == self._epoch and notice.version <= self._version:
            return False
        if notice.epoch != self._epoch or notice.after != self._version or self._pages is not None:
            self._is_behind = True
            return False
        self._apply(notice.watch, notice.unwatch, notice.version)
        return True

    def take_reply(self, reply: WatchedReply, now: float) -> bool:
        """Take the reply to the last question; return whether another topic may be watched now."""
        self._heard_at = now
        self._asked_at = None
        if reply.snapshot:
            return self._take_page(reply)
        if reply.epoch != self._epoch or reply.after != self._version:
            return False  # A notice has overtaken it.
        self._apply(reply.watch, reply.unwatch, reply.version)
        return True

    def take_failure(self) -> None:
        """The last question was refused or given up; it is asked again in its time."""
        self._pages = None

    def question(self, now: float) -> WatchedQuestion | None:
        """Return the request that is due, which counts as sent; None if none is."""
        due_at = self.due_at(now)
        if due_at is None or due_at > now:
            return None
        if self._asked_at is not None:
            # Unanswered: a page may be missing, so all of them are requested again.
            self._pages = None
        self._asked_at = now
        if self._pages is not None:
            return self._pages.next_question
        return WatchedQuestion(self._epoch, self._version, None)

    def due_at(self, now: float) -> float | None:
        """Return when `question` has a request, None before a topic was asked for."""
        if not self._is_needed:
            return None
        if self._asked_at is not None:
            return self._asked_at + RETRY_S
        return now if self._is_behind else self._heard_at + SILENCE_S

    def relay_lost(self) -> None:
        """The connection has ended: the next relay is asked at once."""
        self._asked_at = None
        self._pages = None
        self._is_behind = True

    def _take_page(self, reply: WatchedReply) -> bool:
        pages = self._pages
        if pages is None or reply.epoch != pages.next_question.epoch:
            if reply.after:
                return False  # A page of another relay, or of a question that was given up.
            topics, version = DigestSet(), reply.version
        else:
            # Changes since the first page are requested after the last one.
            topics, version = pages.topics, pages.next_question.after
        for digest in unpack_digests(reply.watch):
            topics.add(digest)
        if reply.next is not None:
            self._pages = _Pages(topics, WatchedQuestion(reply.epoch, version, reply.next))
            self._is_behind = True
            return False
        self._pages = None
        self._topics, self._epoch, self._version = topics, reply.epoch, version
        self._is_behind = version != reply.version
        return True

    def _apply(self, watch: bytes, unwatch: bytes, version: int) -> None:
        for digest in unpack_digests(unwatch):
            self._topics.discard(digest)
        for digest in unpack_digests(watch):
            self._topics.add(digest)
        self._version = version
        self._is_behind = False
