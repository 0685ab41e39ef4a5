"""`Emitter`: the public face of the emitter side.

It owns the outbox and its lock. The thread in `emitters.link` owns the sockets.
"""

import atexit
import logging
import os
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from emitters.config import EmitterSettings
from emitters.core.outbox import Outbox, Outgoing
from emitters.errors import EmitterClosed
from emitters.link import RelayLink
from relay.settings import load
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

    `max_events` and `max_bytes` bound what waits for the relay. When that is full, `emit` raises
    `OutboxFull`, or first waits up to `block_timeout_s` seconds if that is given.

    Raises `relay.settings.SettingsError` for a setting that cannot be used.
    """

    def __init__(
        self,
        *,
        name: str | None = None,
        ingress: str | None = None,
        control: str | None = None,
        max_events: int = DEFAULT_MAX_EVENTS,
        max_bytes: int = DEFAULT_MAX_BYTES,
        block_timeout_s: float | None = None,
    ) -> None:
        settings = load(EmitterSettings, name=name, relay_ingress=ingress, relay_control=control)
        self.name = settings.name
        self._block_timeout_s = block_timeout_s
        self._outbox = Outbox(max_events, max_bytes)
        self._changed = threading.Condition()
        """Guards the outbox; notified when it has more room."""
        self._closed = False
        self._left = 0
        self._pid = os.getpid()
        self._link = RelayLink(settings, self._outbox, self._changed)
        self._link.start()
        atexit.register(self._close_at_exit)

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

        Raises `InvalidTopic`, `InvalidEnvelope` (whose `field` says where), `OutboxFull` or
        `EmitterClosed`, also in a forked child process; then nothing was taken.
        """
        parsed = parse_topic(topic)
        event_id = secrets.token_hex(12)
        envelope = Envelope(
            type=default_type(parsed.kind) if type is None else type,
            data=data if isinstance(data, dict) or not isinstance(data, Mapping) else dict(data),
            username=username,
            source=self.name,
            emitted_at=time.time_ns() // 1_000_000,
            id=event_id,
        )
        self._add(Outgoing(parsed, pack_envelope(envelope, parsed.kind)))
        self._link.wake()
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

    def retained(self, prefix: str, timeout: float = 5.0) -> list[tuple[str, Envelope]]:
        """Return what the relay remembers of topics that start with `prefix`.

        That is the last value of a live topic, and the latest state of a task. Raises
        `RelayUnavailable` when it does not answer within `timeout` seconds.
        """
        return self._link.retained(prefix, timeout)

    def close(self, timeout: float = CLOSE_TIMEOUT_S) -> int:
        """Hand over what waits, for at most `timeout` seconds, and end.

        Returns how many journaled events are unsent, or sent and not confirmed by the relay. A
        second call does nothing and returns the same.
        """
        with self._changed:
            if self._closed or os.getpid() != self._pid:
                return self._left
            self._closed = True
            self._changed.notify_all()
        atexit.unregister(self._close_at_exit)
        self._left = self._link.close(timeout)
        return self._left

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
        with self._changed:
            if self._block_timeout_s is not None:
                self._changed.wait_for(
                    lambda: self._closed or self._outbox.has_room_for(event), self._block_timeout_s
                )
            if self._closed:
                raise EmitterClosed("this emitter was closed")
            if os.getpid() != self._pid:
                raise EmitterClosed("a forked process needs an emitter of its own")
            if not self._link.is_alive():
                raise EmitterClosed("this emitter has failed; the log says why")
            self._outbox.add(event)

    def _close_at_exit(self) -> None:
        if left := self.close():
            logger.error("%s ends with %d events that the relay may not have", self.name, left)
