"""`Emitter`: the public face of the emitter side.

It puts mailbox, link thread and spool together; `emitters.core` says how they work.
"""

import asyncio
import itertools
import logging
import os
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self, TypedDict, Unpack

from emitters.config import EmitterSettings, report_unknown_variables
from emitters.core.dialogue import Dialogue
from emitters.core.identity import EmitterIdentity
from emitters.core.outbox import Outbox
from emitters.core.outgoing import Outgoing
from emitters.errors import EmitterClosed
from emitters.exit_hook import ExitHook
from emitters.green_threads import refuse_green_threads
from emitters.handover import OutboxBounds
from emitters.link import LinkThread
from emitters.mailbox import CLOSED, Mailbox
from emitters.shielded import shielded
from relay.shared.process_room import require_room
from relay.shared.settings import load
from relay.wire.envelope import Envelope, default_type, pack_envelope
from relay.wire.topics import parse_topic

DEFAULT_MAX_EVENTS = 100_000
DEFAULT_MAX_BYTES = 64 * 1024 * 1024
CLOSE_TIMEOUT_S = 5.0
NEEDED_DESCRIPTORS = 24
NEEDED_THREADS = 3
"""The emitter's own and two of libzmq."""
NEEDED_BYTES = 48 * 1024 * 1024
"""Address space: stacks of threads, buffers of libzmq."""

logger = logging.getLogger(__name__)


class OutboxLimits(TypedDict, total=False):
    """Keyword arguments of `Emitter` that bound its outbox."""

    max_events: int
    max_bytes: int
    block_timeout_s: float | None


@dataclass(frozen=True, slots=True)
class _Limits:
    """The limits of the outbox with their defaults; any other keyword is refused."""

    max_events: int = DEFAULT_MAX_EVENTS
    max_bytes: int = DEFAULT_MAX_BYTES
    block_timeout_s: float | None = None


class Emitter:
    """Emits events to the relay (protocol section 5).

    Without arguments it takes the `EMITTER_*` settings; keyword arguments override them. Safe to
    use from any thread and from async code: `emit` never waits for the network.

    The relay knows an emitter by its `name`, and of several processes with one name it admits one
    at a time. With `shared_name` the name is only the `source` of the events, and any number of
    processes may have it, unless there is a spool.

    `max_events` (100,000) and `max_bytes` (64 MiB) bound the events that the relay has not
    acknowledged yet. When they are reached, `emit` raises `OutboxFull`, or first waits up to
    `block_timeout_s` seconds if that is given. Beside them, unsent values of 10,000 live topics
    are held, 32 MiB at most; beyond that the value emitted first is given up, and counted as
    `conflated`.

    `spool` is a file that holds every event until it is acknowledged, so that even after
    `kill -9` the next emitter on that file sends them. Without a name, an emitter has that of its
    spool. See `emitters.spool` for the cost of a power cut.

    Raises `relay.shared.settings.SettingsError` for a setting that cannot be used, or if the
    process may not open 24 more file descriptors or start 3 more threads; `SpoolInUse` or
    `SpoolRefused` if the setting is the spool.
    """

    def __init__(
        self,
        *,
        name: str | None = None,
        ingress: str | None = None,
        control: str | None = None,
        spool: str | os.PathLike[str] | None = None,
        shared_name: bool = False,
        **limits: Unpack[OutboxLimits],
    ) -> None:
        refuse_green_threads()
        settings = load(
            EmitterSettings,
            name=name,
            relay_ingress=ingress,
            relay_control=control,
            spool=None if spool is None else os.fspath(spool),
        )
        report_unknown_variables(logger.warning)
        # An exception of a signal handler would leave the probe's descriptors and threads behind.
        shielded(require_room, NEEDED_DESCRIPTORS, NEEDED_THREADS, NEEDED_BYTES)
        self._id_start = secrets.token_hex(8)
        self._id_numbers = itertools.count()
        suffix = f"/{self._id_start}" if shared_name else ""
        all_limits = _Limits(**limits)
        self._block_timeout_s = all_limits.block_timeout_s
        self._pid = os.getpid()
        self.spool = settings.spool
        """The file of the spool, None without one."""
        self._exit_hook = ExitHook(self._close_at_exit)
        self._start(settings, suffix, all_limits)

    def _start(self, settings: EmitterSettings, suffix: str, limits: _Limits) -> None:
        """Open the spool and start the link thread; a call that raises leaves neither behind."""
        outbox: Outbox | None = None
        link: LinkThread | None = None
        try:
            identity, outbox = _open_outbox(settings, suffix)
            self.name = identity.name
            dialogue = Dialogue(identity.name, outbox)
            bounds = OutboxBounds(limits.max_events, limits.max_bytes)
            self._mailbox = Mailbox(outbox, dialogue, bounds)
            self._link = link = LinkThread(settings, identity, self._mailbox)
            link.start()
            # Last, and nothing follows: from here on the program can close it.
            self._exit_hook.register()
        except BaseException:
            # Nobody could close them, and the end of the process would wait for them.
            self._exit_hook.cancel()
            if outbox is not None and (link is None or link.abandon()):
                outbox.close()
            raise

    def emit(
        self,
        topic: str,
        data: Mapping[str, Any],
        *,
        type: str | None = None,
        username: str | None = None,
        while_connected: bool = False,
    ) -> str:
        """Take one event and return its id.

        `data` may hold what JSON can carry. `type` defaults to the one of the topic's kind.
        With `username` only that user's connections get it; topics of kind `task` need it. With
        `while_connected` the relay ends the task as an error if this emitter goes away for longer
        than `RELAY_TASK_GRACE_S`, and this is the newest state of the task, `in_progress`.

        Raises `InvalidTopic`, `InvalidEnvelope` (whose `field` says where), `OutboxFull`,
        `SpoolUnavailable`, or `EmitterClosed`, also in a forked child process and when another
        process has taken the name over. Then the event was not taken. A signal handler may emit;
        if it raises while it interrupts this call, the event was taken or not, never half.
        """
        parsed = parse_topic(topic)
        event_id = f"{self._id_start}{next(self._id_numbers):08x}"
        envelope = Envelope(
            type=default_type(parsed.kind) if type is None else type,
            data=data if isinstance(data, dict) or not isinstance(data, Mapping) else dict(data),
            username=username,
            source=self.name,
            emitted_at=time.time_ns() // 1_000_000,
            id=event_id,
            while_connected=while_connected,
        )
        event = Outgoing(parsed, pack_envelope(envelope, parsed.kind))
        # A forked child has no link thread.
        if os.getpid() != self._pid:
            raise EmitterClosed("a forked process needs an emitter of its own")
        self._mailbox.add(event, self._block_timeout_s)
        return event_id

    def is_watched(self, topic: str) -> bool:
        """Whether somebody is subscribed to the live topic `topic` right now."""
        return self._mailbox.is_watched(topic)

    def on_watch_change(self, callback: Callable[[], None]) -> None:
        """Call `callback` whenever the set of watched live topics changes.

        It is called from the emitter's own thread and must return at once. Raises `RuntimeError`
        for more than 1000 callbacks.
        """
        self._link.on_watch_change(callback)

    def wait_connected(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds until events reach the relay; return whether they do."""
        return self._mailbox.wait_open(timeout)

    def wait_acknowledged(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds until the relay has all that was emitted before this call.

        Returns whether it has. That includes events that an earlier process left in the spool.
        """
        return self._mailbox.wait_acknowledged(timeout)

    def retained(self, prefix: str, timeout: float = 5.0) -> list[tuple[str, Envelope]]:
        """Return topic and envelope of what the relay remembers of topics that start with `prefix`.

        That is the last value of a live topic, and the latest state of a task. Raises
        `RelayUnavailable` when it does not answer within `timeout` seconds.
        """
        return self._link.retained(prefix, timeout)

    def counters(self) -> dict[str, int]:
        """Return this emitter's counters, by the names of protocol section 9."""
        return self._mailbox.counters()

    def close(self, timeout: float = CLOSE_TIMEOUT_S) -> int:
        """Wait for acknowledgements for at most `timeout` seconds, and end.

        Returns the number of journaled events that the relay has not acknowledged. With a spool
        they stay in it. A second call waits for the end of the first, and returns the same.
        """
        if os.getpid() != self._pid:
            return 0
        self._mailbox.refuse(CLOSED)
        self._link.close(timeout)
        if self._mailbox.has_ended:
            self._exit_hook.cancel()
        return self._mailbox.unacknowledged()

    async def aclose(self, timeout: float = CLOSE_TIMEOUT_S) -> int:  # noqa: ASYNC109 - as `close`
        """Do what `close` does, in a thread of its own: the event loop goes on meanwhile."""
        return await asyncio.to_thread(self.close, timeout)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _close_at_exit(self) -> None:
        left = self.close()
        if left and self.spool is not None:
            logger.warning(
                "%s ends with %d unacknowledged events, kept in the spool %s",
                self.name,
                left,
                self.spool,
            )
        elif left:
            logger.error("%s ends with %d events that the relay may not have", self.name, left)


def _open_outbox(settings: EmitterSettings, suffix: str) -> tuple[EmitterIdentity, Outbox]:
    """Return the outbox and whose it is; with a spool, both go on where it stopped.

    `suffix` makes the identity this emitter's alone, except with a spool: that is to be found again
    by the relay.
    """
    kinds = settings.journaled_kinds
    if settings.spool is None:
        outbox = Outbox(journaled_kinds=kinds)
        return EmitterIdentity.of(settings.name, suffix), outbox
    # Imported here, because it needs file locks that not every platform has.
    from emitters.spool import Spool

    wanted = settings.name if "name" in settings.model_fields_set else None
    spool = Spool(settings.spool, wanted, default_name=settings.name)
    outbox = Outbox(
        journaled_kinds=kinds,
        acknowledged=spool.acknowledged,
        kept=spool.kept,
        store=spool,
    )
    return EmitterIdentity.of(spool.name), outbox
