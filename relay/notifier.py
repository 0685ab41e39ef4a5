"""Sends notices to emitters on the control socket (protocol section 4)."""

from collections.abc import Callable
from typing import Protocol

from relay.core.emitters import KnownEmitter, KnownEmitters
from relay.core.intake import ForbiddenEvent
from relay.net.port import Port
from relay.wire.notices import (
    Acknowledged,
    ForbiddenNotice,
    Notice,
    Resend,
    pack_forbidden_notice,
    pack_notice,
)
from relay.zmtp.frames import pack_message

MAX_WAITING_BYTES = 4 * 1024 * 1024
"""A peer for which so much waits is sent no notice. It is more than what waits when its requests
are not read any more."""


class Provable(Protocol):
    """The emitters, and the proofs of their acknowledgements."""

    @property
    def emitters(self) -> KnownEmitters:
        """The known emitters."""

    def proof_of(self, emitter: KnownEmitter) -> bytes | None:
        """Return the proof of what `emitter` has committed, None without one."""


class Notifier:
    """Tells emitters how far the journal has come."""

    def __init__(self, control: Port, provable: Provable) -> None:
        self._control = control
        self._provable = provable

    def acknowledge(self, emitter: KnownEmitter) -> bool:
        """Acknowledge everything that is committed; return whether `emitter` is connected."""
        proof = self._provable.proof_of(emitter)
        return self._send(emitter, Acknowledged(emitter.epoch, emitter.committed, proof))

    def is_connected(self, emitter: KnownEmitter) -> bool:
        """Return whether the control connection of `emitter` is there."""
        if emitter.peer is not None and self._control.get(emitter.peer) is None:
            emitter.peer = None
        return emitter.peer is not None

    def request_resend(self, emitter: KnownEmitter) -> None:
        """Ask for every event after the last committed one."""
        self._send(emitter, Resend(emitter.epoch, emitter.committed))

    def forbid(self, error: ForbiddenEvent) -> None:
        """Tell the emitter of an event that it was not published, if the event names one."""
        header = error.header
        emitter = None if header is None else self._provable.emitters.get(header.emitter_id)
        if header is not None and emitter is not None and emitter.peer is not None:
            notice = ForbiddenNotice(header.epoch, header.sequence, error.topic.shown, error.field)
            self.tell(emitter.peer, pack_forbidden_notice(notice))

    def _send(self, emitter: KnownEmitter, notice: Notice) -> bool:
        if emitter.peer is None:
            return False
        is_request = isinstance(notice, Resend)
        is_connected = self.tell(
            emitter.peer,
            pack_notice(notice),
            on_full=lambda: self._provable.emitters.note_unasked(emitter) if is_request else None,
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
