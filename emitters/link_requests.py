"""The requests that the link thread makes by itself: hello, and the report of the counters."""

import logging
from collections.abc import Sequence

from emitters.control_client import (
    MAX_REQUESTS,
    RESERVED_REQUESTS,
    ControlClient,
    PendingReply,
)
from emitters.core.identity import EmitterIdentity
from emitters.core.watched_topics import WatchedTopics
from emitters.errors import EmitterClosed, RelayRefused, RelayUnavailable, SpoolUnavailable
from emitters.mailbox import Mailbox
from relay.wire.control import AccountRequest, HelloReply
from relay.wire.demand_messages import WatchedReply, WatchedRequest
from relay.wire.notices import DemandNotice

logger = logging.getLogger(__name__)


class LinkRequests:
    """Carries out the dialogue's decisions on the control socket. At most one hello, one
    report and one question are unanswered: an older one is cancelled, and its reply ignored."""

    def __init__(self, client: ControlClient, mailbox: Mailbox, identity: EmitterIdentity) -> None:
        self._client = client
        self._mailbox = mailbox
        self._identity = identity
        self._hello: PendingReply | None = None
        """The latest hello that is not answered."""
        self._report: PendingReply | None = None
        """The latest report."""
        self._is_last_report_made = False
        self._question: PendingReply | None = None
        """The latest request for the demand that is not answered."""

    @property
    def has_reported_all(self) -> bool:
        """Whether the relay has the last report, if it was due."""
        return self._is_last_report_made and (self._report is None or self._report.is_done)

    def say_hello(self, now: float) -> None:
        """Take the reply to a hello, and send hello when it is due."""
        if self._hello is not None and self._hello.is_done:
            hello, self._hello = self._hello, None
            self._take_reply(hello, now)
        greeting = self._mailbox.take_hello(now)
        if greeting is not None:
            # Its reply would be older than the dialogue's state.
            if self._hello is not None:
                self._hello.cancel()
            self._hello = self._client.ask(
                lambda key: greeting.request(key, self._identity),
                max_requests=MAX_REQUESTS + RESERVED_REQUESTS,
            )

    def follow_demand(self, notices: Sequence[DemandNotice], now: float) -> bool:
        """Take notices of the demand and the reply to a question, and ask when that is due.

        Returns whether other topics may be watched now.
        """
        watched = self._mailbox.watched
        changes = [watched.take_notice(notice, now) for notice in notices]
        if self._question is not None and self._question.is_done:
            answered, self._question = self._question, None
            changes.append(_take_watched(answered, watched, now))
        question = watched.question(now) if self._mailbox.is_accepted else None
        if question is not None:
            if self._question is not None:
                self._question.cancel()
            epoch, after, cursor = question.epoch, question.after, question.cursor
            self._question = self._client.ask(
                lambda key: WatchedRequest(id=key, epoch=epoch, after=after, cursor=cursor),
                max_requests=MAX_REQUESTS + RESERVED_REQUESTS,
            )
        if any(changes):
            self._mailbox.on_demand_changed()
        return any(changes)

    def report(self, now: float, *, is_last: bool) -> None:
        """Report the counters when it is due; the last report also counts the unsent live values
        as given up."""
        if is_last:
            counters = self._mailbox.take_last_report(now)
            self._is_last_report_made = True
        else:
            counters = self._mailbox.take_report(now)
        if counters is not None:
            # Reports are sums since the epoch began, so only the newest counts.
            if self._report is not None:
                self._report.cancel()
            emitter_id, epoch = self._identity.emitter_id, self._mailbox.epoch
            self._report = self._client.ask(
                lambda key: AccountRequest(
                    id=key, emitter_id=emitter_id, emitter_epoch=epoch, counters=counters
                ),
                max_requests=MAX_REQUESTS + RESERVED_REQUESTS,
            )

    def _take_reply(self, hello: PendingReply, now: float) -> None:
        try:
            reply = hello.result()
            assert isinstance(reply, HelloReply)
            self._mailbox.permission.learn(reply)
            self._mailbox.on_hello_accepted(reply, now)
        except RelayRefused as error:
            self._mailbox.on_hello_refused(error.code, str(error))
            if self._mailbox.is_fenced:
                name = self._identity.name
                self._mailbox.refuse(f"another process has taken over the spool of {name!r}")
        except SpoolUnavailable as error:
            # The disk may have room again at the next hello.
            logger.warning("%s", error)


def _take_watched(answered: PendingReply, watched: WatchedTopics, now: float) -> bool:
    """Take the reply to a question; return whether other topics may be watched now."""
    try:
        reply = answered.result()
    except (RelayRefused, RelayUnavailable, EmitterClosed) as error:
        logger.warning("the relay does not tell which topics are watched: %s", error)
        watched.take_failure()
        return False
    assert isinstance(reply, WatchedReply)
    return watched.take_reply(reply, now)
