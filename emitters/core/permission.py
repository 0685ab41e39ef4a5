"""`Permission`: what this emitter may publish, as far as the relay has told it (section 5)."""

import logging

from emitters.errors import NotPermitted
from relay.wire.control import HelloReply
from relay.wire.notices import ForbiddenNotice
from relay.wire.peers import Patterns, PublishRights
from relay.wire.topics import Topic

MAX_SHOWN = 5

logger = logging.getLogger(__name__)


class Permission:
    """The link thread learns it from replies and notices; any thread asks.

    Before the first reply to hello everything is taken. The relay then refuses what it has to, and
    says so.
    """

    def __init__(self) -> None:
        self._rights: PublishRights | None = None
        self.forbidden = 0
        """Events that the relay has refused."""

    def learn(self, reply: HelloReply) -> None:
        """Take the rights in a reply to hello; without any, everything may be published."""
        self._rights = None
        if reply.publish is not None:
            self._rights = PublishRights(
                Patterns(reply.publish),
                Patterns(reply.sources or ()),
                Patterns(reply.users or ()),
                # The relay checks the kinds of edges, which nobody else emits by name.
                is_edge=True,
            )

    def check(self, topic: Topic, source: str, username: str | None) -> None:
        """Raise `NotPermitted` for an event that the relay would refuse."""
        rights = self._rights
        field = "" if rights is None else rights.refuses(topic, source, username)
        if rights is None or not field:
            return
        given, allowed = {
            "topic": (topic.shown, rights.topics),
            "source": (source, rights.sources),
            "username": (username, rights.users),
        }[field]
        shown = ", ".join(allowed.texts[:MAX_SHOWN]) or "none"
        more = ", …" if len(allowed.texts) > MAX_SHOWN else ""
        raise NotPermitted(field, f"the relay does not allow {given!r}; it allows {shown}{more}")

    def refused(self, notice: ForbiddenNotice) -> None:
        """Count and log an event that the relay has refused."""
        self.forbidden += 1
        logger.error(
            "the relay refused event %d, on %s: its %s is not allowed",
            notice.sequence,
            notice.topic,
            notice.field,
        )
