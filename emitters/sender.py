"""`EventSender`: moves events from the mailbox to the data socket."""

import itertools
import time
from collections.abc import Iterable, Sequence

import zmq

from emitters.core.identity import EmitterIdentity
from emitters.core.outgoing import Outgoing
from emitters.mailbox import Mailbox
from relay.shared.transport import Socket, send_frames
from relay.wire.header import SENT_AGAIN, Header, pack_header

FULL_SOCKET_RETRY_S = 0.005
SEND_BATCH = 256
"""Events sent before the thread looks at its other sockets again."""

_SEQUENCE_BYTES = 8


class EventSender:
    """Sends live values first, then journaled events in the order of their numbers."""

    def __init__(self, data: Socket, mailbox: Mailbox, identity: EmitterIdentity) -> None:
        self._data = data
        self._mailbox = mailbox
        self._emitter_id = identity.emitter_id
        self._epoch = -1
        self._header_start = b""
        """The header up to the sequence number, of `_epoch`."""
        self.blocked_until = 0.0
        """Monotonic seconds until which the socket is not tried again, because it was full."""

    def send_batch(self) -> None:
        """Send up to `SEND_BATCH` live values and as many events, unless the socket is blocked."""
        if not self._mailbox.is_open or time.monotonic() < self.blocked_until:
            return
        if self._epoch != self._mailbox.epoch:
            self._epoch = self._mailbox.epoch
            header = pack_header(Header(self._emitter_id, self._epoch, 0))
            # Packing a whole header for every event costs five times as much.
            self._header_start = header[:-_SEQUENCE_BYTES]
        # Live values first: they are few, and worth nothing when they are late.
        if not (self._send_live() and self._send_events()):
            # An XPUB always polls as writable, so its high-water mark can only be waited out.
            self.blocked_until = time.monotonic() + FULL_SOCKET_RETRY_S

    def _send_live(self) -> bool:
        """Return whether the socket took every value."""
        values = self._mailbox.take_live(SEND_BATCH)
        is_sent_again = self._mailbox.is_sent_again
        sent = self._send(values, (SENT_AGAIN if is_sent_again(each) else 0 for each in values))
        if sent < len(values):
            # The mailbox keeps newer values that came meanwhile, and gives these up for them.
            self._mailbox.put_live_back(values[sent:])
        return sent == len(values)

    def _send_events(self) -> bool:
        """Return whether the socket took every event."""
        first, events = self._mailbox.take_events(SEND_BATCH, time.monotonic())
        sent = self._send(events, itertools.count(first))
        if sent < len(events):
            self._mailbox.put_events_back(len(events) - sent)
        return sent == len(events)

    def _send(self, events: Sequence[Outgoing], sequences: Iterable[int]) -> int:
        """Send `events` with the numbers `sequences`; return how many went."""
        data, header_start = self._data, self._header_start
        sent = 0
        for (topic, envelope), sequence in zip(events, sequences):  # noqa: B905 - may be endless
            header = header_start + sequence.to_bytes(_SEQUENCE_BYTES, "big")
            try:
                # Only the first frame can meet the high-water mark: libzmq counts whole messages.
                send_frames(data, (topic.text.encode(), header, envelope))
            except zmq.Again:
                break
            sent += 1
        return sent
