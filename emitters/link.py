"""The emitter's thread and its sockets.

The data socket is an XPUB: a PUB that can also read who subscribes. The relay subscribes to every
journaled kind and to the live topics that somebody watches, so a subscription says two things:
that the path is open, and what is wanted. When the relay goes, libzmq takes its subscriptions
back, and what has not been sent waits in the outbox.
"""

import contextlib
import logging
import secrets
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError

import zmq

from emitters.config import EmitterSettings
from emitters.control_line import ControlLine
from emitters.core.outbox import Outbox, Outgoing
from emitters.core.watching import is_watched
from emitters.errors import RelayUnavailable
from relay.transport import Socket, open_socket
from relay.wire.control import (
    Hello,
    HelloReply,
    Received,
    ReceivedReply,
    Reply,
    Retained,
    RetainedReply,
)
from relay.wire.envelope import Envelope, unpack_envelope
from relay.wire.header import EMITTER_ID_BYTES, Header, pack_header
from relay.wire.prefixes import PrefixSet
from relay.wire.topics import decode_topic

HELLO_RETRY_S = 1.0
CONFIRM_INTERVAL_S = 0.02
FULL_SOCKET_RETRY_S = 0.005
SEND_BATCH = 256
"""Events sent before the thread looks at its other sockets again."""

logger = logging.getLogger(__name__)


class RelayLink(threading.Thread):
    """Moves events from the outbox to the relay.

    `changed` guards `outbox`; it is notified when the outbox has more room.
    """

    def __init__(
        self, settings: EmitterSettings, outbox: Outbox, changed: threading.Condition
    ) -> None:
        super().__init__(name=f"emitter-{settings.name}", daemon=True)
        self._settings = settings
        self._outbox = outbox
        self._changed = changed
        self.connected = threading.Event()
        self._emitter_id = secrets.token_bytes(EMITTER_ID_BYTES)
        self._epoch = time.time_ns()
        self._subscriptions = PrefixSet()
        self._watch_callbacks: list[Callable[[], None]] = []
        self._line = ControlLine()
        self._hello: Future[Reply] | None = None
        self._hello_due_at = 0.0
        self._relay_epoch = 0
        self._journaled_kinds: frozenset[str] | None = None
        """What the relay we are connected to journals; None until it has said so."""
        self._has_sent = False
        self._sequence = 0
        """Of the last journaled event that was handed to libzmq."""
        self._confirmed = 0
        """Up to there the relay has said that it has them, or an earlier relay had its chance."""
        self._confirmation: Future[Reply] | None = None
        self._confirmed_at = 0.0
        self._send_due_at: float | None = None
        """When sending goes on by itself; None if there is nothing to send."""
        self._close_at: float | None = None
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_reader.setblocking(False)
        self._wake_writer.setblocking(False)

    # Called from any thread.

    def wake(self) -> None:
        """Make the thread look at the outbox."""
        with contextlib.suppress(BlockingIOError, OSError):
            self._wake_writer.send(b"\0")

    def is_watched(self, topic: str) -> bool:
        """Whether the relay forwards a subscription that matches `topic`."""
        return is_watched(topic.encode(), self._subscriptions)

    def on_watch_change(self, callback: Callable[[], None]) -> None:
        """Call `callback` from this thread after subscriptions changed."""
        self._watch_callbacks.append(callback)

    def retained(self, prefix: str, timeout: float) -> list[tuple[str, Envelope]]:
        """Ask the relay; see `Emitter.retained`."""
        deadline = time.monotonic() + timeout
        items: list[tuple[str, Envelope]] = []
        after: bytes | None = None
        while True:
            reply = self._ask_retained(prefix, after, deadline - time.monotonic())
            for topic_frame, _stamp, payload in reply.items:
                topic = decode_topic(topic_frame)
                items.append((topic.text, unpack_envelope(payload, topic.kind)))
            if reply.next is None:
                return items
            after = reply.next

    def close(self, timeout: float) -> int:
        """Send what waits and have the relay confirm it, for at most `timeout` seconds.

        Ends the thread and returns how many journaled events are unsent or unconfirmed.
        """
        self._close_at = time.monotonic() + timeout
        self.wake()
        self.join(timeout + 1.0)
        with self._changed:
            return len(self._outbox) + self._sequence - self._confirmed

    def _ask_retained(self, prefix: str, after: bytes | None, timeout: float) -> RetainedReply:
        future = self._line.ask(lambda key: Retained(id=key, prefix=prefix, after=after))
        self.wake()
        try:
            reply = future.result(max(0.0, timeout))
        except FutureTimeoutError:
            future.cancel()
            raise RelayUnavailable(
                f"no answer from the relay at {self._settings.relay_control} in time"
            ) from None
        assert isinstance(reply, RetainedReply)
        return reply

    # Runs in the thread.

    def run(self) -> None:
        """Own the sockets until `close`."""
        context = zmq.Context()
        data = open_socket(context, zmq.XPUB)
        # At the high-water mark the event stays with us instead of being dropped by libzmq.
        data.setsockopt(zmq.XPUB_NODROP, 1)
        data.connect(self._settings.relay_ingress)
        control = open_socket(context, zmq.DEALER)
        control.connect(self._settings.relay_control)
        try:
            self._serve(data, control)
        except Exception:
            logger.exception("the emitter %s has failed and takes no events", self._settings.name)
        finally:
            self.connected.clear()
            self._line.hang_up()
            context.destroy(linger=0)
            self._wake_reader.close()
            self._wake_writer.close()

    def _serve(self, data: Socket, control: Socket) -> None:
        poller = zmq.Poller()
        poller.register(data, zmq.POLLIN)
        poller.register(self._wake_reader, zmq.POLLIN)
        poller.register(control, zmq.POLLIN)
        while not self._is_done():
            poller.poll(max(0, int(1000 * (self._due_at() - time.monotonic()))))
            with contextlib.suppress(BlockingIOError):
                self._wake_reader.recv(4096)
            self._read_subscriptions(data)
            self._line.receive(control)
            self._greet()
            self._ask_for_confirmation()
            all_sent = self._line.send(control)
            poller.register(control, zmq.POLLIN if all_sent else zmq.POLLIN | zmq.POLLOUT)
            self._send_due_at = self._send_events(data)

    def _due_at(self) -> float:
        """When to go on even if no socket is readable and nobody wakes us."""
        due = [self._send_due_at, self._close_at]
        if self._journaled_kinds is None:
            due.append(self._hello_due_at)
        if self._close_at is not None and self._confirmation is None:
            due.append(self._confirmed_at + CONFIRM_INTERVAL_S)
        return min((at for at in due if at is not None), default=time.monotonic() + 60.0)

    def _is_done(self) -> bool:
        if self._close_at is None:
            return False
        if time.monotonic() >= self._close_at:
            return True
        with self._changed:
            if len(self._outbox) or self._outbox.has_new_live_values:
                return False
        return not self._has_sent or (self._confirmed_at > 0 and self._confirmed == self._sequence)

    def _read_subscriptions(self, data: Socket) -> None:
        changed = False
        with contextlib.suppress(zmq.Again):
            while True:
                frame = data.recv(zmq.NOBLOCK)
                changed = True
                if frame[:1] == b"\x01":
                    self._subscriptions.add(frame[1:])
                elif frame[:1] == b"\x00":
                    self._subscriptions.discard(frame[1:])
        if not changed:
            return
        if len(self._subscriptions) == 0:
            self._lost_relay()
        self._update_connected()
        with self._changed:
            self._outbox.interest_changed()
        for callback in self._watch_callbacks:
            try:
                callback()
            except Exception:
                logger.exception("a callback of on_watch_change failed")

    def _lost_relay(self) -> None:
        if self._journaled_kinds is not None:
            logger.warning("lost the relay at %s", self._settings.relay_ingress)
        self._journaled_kinds = None
        self._hello_due_at = 0.0
        if self._confirmation is not None:
            self._confirmation.cancel()
            self._confirmation = None

    def _update_connected(self) -> None:
        kinds = self._journaled_kinds
        if kinds is not None and all(f"{kind}:".encode() in self._subscriptions for kind in kinds):
            self.connected.set()
        else:
            self.connected.clear()

    def _greet(self) -> None:
        """Say hello until the relay has told what it journals."""
        if self._journaled_kinds is not None:
            return
        if self._hello is not None and self._hello.done():
            self._take_hello(self._hello)
            self._hello = None
        now = time.monotonic()
        if self._journaled_kinds is None and now >= self._hello_due_at:
            if self._hello is not None:
                self._hello.cancel()
            self._hello = self._line.ask(
                lambda key: Hello(
                    id=key,
                    role="emitter",
                    name=self._settings.name,
                    emitter_id=self._emitter_id,
                    emitter_epoch=self._epoch,
                )
            )
            self._hello_due_at = now + HELLO_RETRY_S

    def _take_hello(self, hello: Future[Reply]) -> None:
        try:
            reply = hello.result()
        except RelayUnavailable as error:
            logger.error("%s", error)
            return
        assert isinstance(reply, HelloReply)
        if reply.epoch != self._relay_epoch:
            # What was sent to an earlier relay cannot be asked about any more.
            self._relay_epoch = reply.epoch
            self._confirmed = self._sequence
        self._journaled_kinds = frozenset(reply.journaled_kinds)
        with self._changed:
            self._outbox.set_journaled_kinds(self._journaled_kinds)
        self._update_connected()

    def _ask_for_confirmation(self) -> None:
        """While closing, ask the relay how far it has come: libzmq cannot tell."""
        if self._close_at is None or not self._has_sent:
            return
        if self._confirmation is not None and self._confirmation.done():
            with contextlib.suppress(RelayUnavailable):
                reply = self._confirmation.result()
                assert isinstance(reply, ReceivedReply)
                self._confirmed = max(self._confirmed, reply.sequence)
            self._confirmation = None
            self._confirmed_at = time.monotonic()
        elif (
            self._confirmation is None
            and time.monotonic() >= self._confirmed_at + CONFIRM_INTERVAL_S
        ):
            self._confirmation = self._line.ask(
                lambda key: Received(id=key, emitter_id=self._emitter_id)
            )

    def _send_events(self, data: Socket) -> float | None:
        """Send what may go now; return when to go on, None if all went."""
        if not self.connected.is_set():
            return None
        try:
            self._send_live(data)
            return time.monotonic() if self._send_journaled(data) else None
        except zmq.Again:
            # An XPUB always polls as writable, so its high-water mark can only be waited out.
            return time.monotonic() + FULL_SOCKET_RETRY_S

    def _send_live(self, data: Socket) -> None:
        with self._changed:
            values = self._outbox.take_live(self.is_watched)
        for index, event in enumerate(values):
            try:
                self._send_event(data, event, sequence=0)
            except zmq.Again:
                with self._changed:
                    self._outbox.put_back_live(values[index:])
                raise

    def _send_journaled(self, data: Socket) -> bool:
        """Send a batch of journaled events; return whether there are more."""
        for _ in range(SEND_BATCH):
            with self._changed:
                event = self._outbox.peek()
            if event is None:
                return False
            self._send_event(data, event, self._sequence + 1)
            self._sequence += 1
            with self._changed:
                self._outbox.pop()
                self._changed.notify_all()
        return True

    def _send_event(self, data: Socket, event: Outgoing, sequence: int) -> None:
        header = pack_header(Header(self._emitter_id, self._epoch, sequence))
        data.send_multipart((event.topic.text.encode(), header, event.envelope), zmq.NOBLOCK)
        self._has_sent = True
