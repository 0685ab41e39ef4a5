"""`RunningEmitter`: an emitter as it runs in one process, until everything is acknowledged."""

import itertools
import logging
import os
import secrets
from collections.abc import Callable

from emitters.config import EmitterSettings
from emitters.connections import Connections
from emitters.core.dialogue import Dialogue
from emitters.core.emitter_state import EmitterState
from emitters.core.identity import EmitterIdentity
from emitters.core.outbox import Outbox
from emitters.errors import SpoolRefused
from emitters.exit_hook import ExitHook
from emitters.forks import in_forked_child
from emitters.handover import OutboxBounds
from emitters.link import LinkThread
from emitters.mailbox import CLOSED, Mailbox
from relay.wire.topics import Topic

CLOSE_TIMEOUT_S = 5.0

logger = logging.getLogger(__name__)


class RunningEmitter:
    """Mailbox, link thread and exit hook of this process.

    It knows nothing of the `Emitter` that uses it: when nobody has that any more, `release` lets
    what was emitted still reach the relay.

    Raises `SpoolInUse`, `SpoolRefused`, or `RuntimeError` if no thread can be started; then nothing
    is left behind.
    """

    def __init__(
        self,
        settings: EmitterSettings,
        bounds: OutboxBounds,
        watch_callbacks: list[Callable[[], None]],
    ) -> None:
        self._pid = os.getpid()
        self._id_start = secrets.token_hex(8)
        self._id_numbers = itertools.count()
        self._spool = settings.spool
        self._exit_hook = ExitHook(self._close_at_exit)
        outbox: Outbox | None = None
        link: LinkThread | None = None
        try:
            identity, outbox = _open_outbox(settings)
            self._outbox = outbox
            self.name = identity.name
            self.mailbox = Mailbox(outbox, Dialogue(identity.name, outbox), bounds)
            self.link = link = LinkThread(
                settings, identity, self.mailbox, watch_callbacks, self._exit_hook.cancel
            )
            link.start()
            in_forked_child(link.connections, Connections.close_in_child)
            # Last, and nothing follows: from here on the program can close it.
            self._exit_hook.register()
        except BaseException:
            # Nobody could close them, and the end of the process would wait for them.
            self._exit_hook.cancel()
            if outbox is not None and (link is None or link.abandon()):
                outbox.close()
            raise

    @property
    def state(self) -> EmitterState:
        """Whether events reach the relay."""
        return self.link.state

    @property
    def is_closed(self) -> bool:
        """Whether no event is taken any more."""
        return bool(self.mailbox.end_reason)

    def is_journaled(self, topic: Topic) -> bool:
        """Whether the relay journals `topic`, as far as that is known."""
        return self._outbox.is_journaled(topic)

    def new_id(self) -> str:
        """Return an id for an event."""
        return f"{self._id_start}{next(self._id_numbers):08x}"

    def release(self) -> None:
        """Take no more events, and end when the relay has them all, however long that takes.

        Events in a spool do not need this process: the next one may have it soon.
        """
        self.mailbox.refuse(CLOSED)
        if self._spool is None:
            self.link.end_when_drained()
        else:
            self.link.end_within(CLOSE_TIMEOUT_S)

    def close(self, timeout: float) -> int:
        """Do what `Emitter.close` does. In a forked child, the events are the parent's."""
        if os.getpid() != self._pid:
            return 0
        self.mailbox.refuse(CLOSED)
        self.link.end_within(timeout)
        self.link.wait_end()
        return self.mailbox.unacknowledged() + self.mailbox.permission.forbidden

    def _close_at_exit(self) -> None:
        left = self.close(CLOSE_TIMEOUT_S)
        if left and self._spool is not None:
            logger.warning(
                "%s ends with %d unacknowledged events, kept in the spool %s",
                self.name,
                left,
                self._spool,
            )
        elif left:
            logger.error("%s ends with %d events that the relay may not have", self.name, left)


def _open_outbox(settings: EmitterSettings) -> tuple[EmitterIdentity, Outbox]:
    """Return the outbox and whose it is; with a spool, both go on where it stopped."""
    # Without a file and a variable, only the relay knows.
    is_told = "journaled_kinds" in settings.model_fields_set
    kinds = settings.journaled_kinds if is_told else None
    if settings.spool is None:
        return EmitterIdentity.of_process(settings.name), Outbox(journaled_kinds=kinds)
    # Imported here, because it needs file locks that not every platform has.
    try:
        from emitters.spool import Spool
    except ImportError as error:
        raise SpoolRefused(f"EMITTER_SPOOL: {error}") from None

    wanted = settings.name if "name" in settings.model_fields_set else None
    spool = Spool(settings.spool, wanted, default_name=settings.name)
    outbox = Outbox(
        journaled_kinds=kinds,
        acknowledged=spool.acknowledged,
        kept=spool.kept,
        store=spool,
    )
    return EmitterIdentity.of_spool(spool.name, spool.emitter_id), outbox
