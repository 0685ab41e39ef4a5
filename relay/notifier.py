"""Sends notices to emitters on the control socket (protocol section 4)."""

from collections.abc import Callable

import zmq

from relay.core.emitters import KnownEmitter
from relay.shared.transport import Socket
from relay.wire.notices import Acknowledged, Notice, Resend, pack_notice


class Notifier:
    """Tells emitters how far the journal has come."""

    def __init__(self, control: Socket, note_unasked: Callable[[KnownEmitter], None]) -> None:
        self._control = control
        self._note_unasked = note_unasked
        """Called when a request to send again cannot be sent."""

    def acknowledge(self, emitter: KnownEmitter) -> bool:
        """Acknowledge everything that is committed; return whether `emitter` is connected.

        An acknowledgement can be sent at any time, so it also serves to find out whether an
        emitter is still there: ZeroMQ gives no other answer.
        """
        return self._send(emitter, Acknowledged(emitter.epoch, emitter.committed))

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
        try:
            self._control.send_multipart((peer, frame), zmq.NOBLOCK)
        except zmq.Again:
            # Its queue is full. Dropping is safe: acknowledgements are cumulative, an emitter that
            # makes no progress says hello again, and the next notice shows what it lacks.
            on_full()
        except zmq.ZMQError:
            # EHOSTUNREACH, by ROUTER_MANDATORY: the connection is gone.
            return False
        return True
