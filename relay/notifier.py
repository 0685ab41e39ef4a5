"""Sends notices to emitters on the control socket (protocol section 4)."""

from collections.abc import Callable

from relay.core.emitters import KnownEmitter
from relay.net.port import Port
from relay.wire.notices import Acknowledged, Notice, Resend, pack_notice
from relay.zmtp.frames import pack_message

MAX_WAITING_BYTES = 4 * 1024 * 1024
"""A peer for which so much waits is sent no notice. It is more than what waits when its requests
are not read any more."""


class Notifier:
    """Tells emitters how far the journal has come."""

    def __init__(self, control: Port, note_unasked: Callable[[KnownEmitter], None]) -> None:
        self._control = control
        self._note_unasked = note_unasked
        """Called when a request to send again cannot be sent."""

    def acknowledge(self, emitter: KnownEmitter) -> bool:
        """Acknowledge everything that is committed; return whether `emitter` is connected."""
        return self._send(emitter, Acknowledged(emitter.epoch, emitter.committed))

    def is_connected(self, emitter: KnownEmitter) -> bool:
        """Return whether the control connection of `emitter` is there."""
        if emitter.peer is not None and self._control.get(emitter.peer) is None:
            emitter.peer = None
        return emitter.peer is not None

    def request_resend(self, emitter: KnownEmitter) -> None:
        """Ask for every event after the last committed one."""
        self._send(emitter, Resend(emitter.epoch, emitter.committed))

    def _send(self, emitter: KnownEmitter, notice: Notice) -> bool:
        if emitter.peer is None:
            return False
        is_request = isinstance(notice, Resend)
        is_connected = self.tell(
            emitter.peer,
            pack_notice(notice),
            on_full=lambda: is_request and self._note_unasked(emitter),
        )
        if not is_connected:
            emitter.peer = None
        return is_connected

    def tell(self, peer: bytes, frame: bytes, on_full: Callable[[], object] = lambda: None) -> bool:
        """Send `peer` a notice; return whether it is connected.

        `on_full` is called when there is no room for the notice.
        """
        found = self._control.get(peer)
        if found is None:
            return False
        if found.queued_bytes > MAX_WAITING_BYTES:
            # Dropping is safe: acknowledgements are cumulative, an emitter that makes no progress
            # says hello again, and the next notice shows what it lacks.
            on_full()
        else:
            self._control.send(found, pack_message((frame,)))
        return True
