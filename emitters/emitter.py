"""`Emitter`: the public face of the emitter side.

It owns the outbox and its lock. The thread in `emitters.link` owns the sockets.
"""

import itertools
import logging
import os
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from emitters.config import EmitterSettings
from emitters.core.outbox import Outbox
from emitters.core.outgoing import Outgoing
from emitters.errors import EmitterClosed
from emitters.exit_hook import ExitHook
from emitters.link import RelayLink
from emitters.spool import Spool
from relay.shared.settings import load
from relay.wire.envelope import Envelope, default_type, pack_envelope
from relay.wire.topics import parse_topic

DEFAULT_MAX_EVENTS = 100_000
DEFAULT_MAX_BYTES = 64 * 1024 * 1024
CLOSE_TIMEOUT_S = 5.0

logger = logging.getLogger(__name__)


class Emitter:
    """Emits events to the relay (protocol section 5).

    Without arguments it takes the `EMITTER_*` settings; keyword arguments override them. Safe to
    use from any thread and from async code: `emit` never waits for the network.

    To the relay the `name` is who this is: of several processes with one name, one at a time is
    let in. With `shared_name` it is the `source` of the events and nothing more, unless there is
    a spool.

    `max_events` and `max_bytes` bound what the relay has not acknowledged yet. When that is full,
    `emit` raises `OutboxFull`, or first waits up to `block_timeout_s` seconds if that is given.

    `spool` is a file that holds every event until it is acknowledged, so that even after
    `kill -9` the next emitter on that file sends what this one could not. Without a name, an
    emitter has that of its spool. See `emitters.spool` for what a power cut can cost.

    Raises `relay.shared.settings.SettingsError` for a setting that cannot be used; that is
    `SpoolInUse` or `SpoolRefused` where the spool is what is wrong.
    """

    def __init__(
        self,
        *,
        name: str | None = None,
        ingress: str | None = None,
        control: str | None = None,
        spool: str | os.PathLike[str] | None = None,
        shared_name: bool = False,
        max_events: int = DEFAULT_MAX_EVENTS,
        max_bytes: int = DEFAULT_MAX_BYTES,
        block_timeout_s: float | None = None,
    ) -> None:
        settings = load(
            EmitterSettings,
            name=name,
            relay_ingress=ingress,
            relay_control=control,
            spool=None if spool is None else os.fspath(spool),
        )
        self._spool: Spool | None = None
        if settings.spool is not None:
            wanted = settings.name if "name" in settings.model_fields_set else None
            self._spool = Spool(settings.spool, wanted, default_name=settings.name)
            settings = settings.model_copy(update={"name": self._spool.name})
        self.name = settings.name
        self.spool = settings.spool
        """The file of the spool, None without one."""
        self._block_timeout_s = block_timeout_s
        self._outbox = _outbox(settings, max_events, max_bytes, self._spool)
        self._changed = threading.Condition()
        """Guards the outbox; notified when it has more room."""
        self._closed = False
        self._pid = os.getpid()
        self._id_start = secrets.token_hex(8)
        self._id_numbers = itertools.count()
        is_shared = shared_name and self._spool is None
        self._link = RelayLink(
            settings,
            f"{self.name}/{self._id_start}" if is_shared else self.name,
            time.time_ns() if self._spool is None else self._spool.epoch,
            self._outbox,
            self._changed,
        )
        self._link.start()
        self._exit_hook = ExitHook(self._close_at_exit)

    def emit(
        self,
        topic: str,
        data: Mapping[str, Any],
        *,
        type: str | None = None,
        username: str | None = None,
    ) -> str:
        """Take one event and return its id.

        `data` may hold what JSON can carry. `type` defaults to the one of the topic's kind.
        With `username` only that user's connections get it; topics of kind `task` need it.

        Raises `InvalidTopic`, `InvalidEnvelope` (whose `field` says where), `OutboxFull`,
        `SpoolUnavailable`, or `EmitterClosed`, also in a forked child process and when another
        process has taken the name over; and `RuntimeError` in a signal handler that interrupts
        another `emit`. Then nothing was taken.
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
        )
        self._add(Outgoing(parsed, pack_envelope(envelope, parsed.kind)))
        return event_id

    def is_watched(self, topic: str) -> bool:
        """Whether somebody is subscribed to the live topic `topic` right now."""
        return self._link.is_watched(topic)

    def on_watch_change(self, callback: Callable[[], None]) -> None:
        """Call `callback` whenever the set of watched live topics changes.

        It is called from the emitter's own thread and must return at once.
        """
        self._link.on_watch_change(callback)

    def wait_connected(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds until events reach the relay; return whether they do."""
        return self._link.connected.wait(timeout)

    def wait_acknowledged(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds until the relay has all that was emitted before this call.

        Returns whether it has. That includes what an earlier process left in the spool.
        """
        with self._changed:
            outbox = self._outbox
            last, renumberings = outbox.last, outbox.renumberings

            def is_acknowledged() -> bool:
                nonlocal last, renumberings
                if outbox.renumberings != renumberings:
                    last, renumberings = outbox.last, outbox.renumberings
                return outbox.acknowledged >= last

            self._changed.wait_for(lambda: self._refusal is not None or is_acknowledged(), timeout)
            return is_acknowledged()

    def retained(self, prefix: str, timeout: float = 5.0) -> list[tuple[str, Envelope]]:
        """Return what the relay remembers of topics that start with `prefix`.

        That is the last value of a live topic, and the latest state of a task. Raises
        `RelayUnavailable` when it does not answer within `timeout` seconds.
        """
        return self._link.retained(prefix, timeout)

    def counters(self) -> dict[str, int]:
        """This emitter's account, by the names of protocol section 9."""
        with self._changed:
            return self._outbox.counters()

    def close(self, timeout: float = CLOSE_TIMEOUT_S) -> int:
        """Hand over what waits, for at most `timeout` seconds, and end.

        Returns how many journaled events the relay has not acknowledged. With a spool they stay
        in it. A second call waits for the end of the first, and returns the same.
        """
        if os.getpid() != self._pid:
            return 0
        with self._changed:
            is_closing = self._closed
            self._closed = True
            self._changed.notify_all()
        if is_closing:
            self._link.join(timeout)
        else:
            self._link.close(timeout)
        with self._changed:
            if not self._link.is_alive():
                self._exit_hook.cancel()
                spool, self._spool = self._spool, None
                if spool is not None:
                    spool.forget(self._outbox.acknowledged)
                    spool.close()
            return len(self._outbox)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _add(self, event: Outgoing) -> None:
        if os.getpid() != self._pid:
            raise EmitterClosed("a forked process needs an emitter of its own")
        link = self._link
        with self._changed:
            if self._block_timeout_s is not None and not self._outbox.has_room_for(event):
                self._changed.wait_for(
                    lambda: self._refusal is not None or self._outbox.has_room_for(event),
                    self._block_timeout_s,
                )
            if self._refusal is not None:
                raise EmitterClosed(self._refusal)
            self._outbox.add(event)
            must_wake = link.is_waiting and self._outbox.has_work
            if must_wake:
                link.is_waiting = False
        if must_wake:
            link.wake()

    @property
    def _refusal(self) -> str | None:
        return "this emitter was closed" if self._closed else self._link.refusal

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


def _outbox(
    settings: EmitterSettings, max_events: int, max_bytes: int, spool: Spool | None
) -> Outbox:
    kinds = settings.journaled_kinds
    if spool is None:
        return Outbox(max_events, max_bytes, journaled_kinds=kinds)
    return Outbox(
        max_events,
        max_bytes,
        journaled_kinds=kinds,
        acknowledged=spool.acknowledged,
        kept=spool.kept,
        store=spool,
    )
