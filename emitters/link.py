"""The emitter's thread and its sockets; what to do with them is in `emitters.core.dialogue`.

The data socket is an XPUB: a PUB that can also read who subscribes. The relay subscribes to every
journaled kind and to the live topics that somebody watches, so a subscription says two things:
that the path is open, and what is wanted. When the relay goes, libzmq takes its subscriptions
back, and what it has not acknowledged waits in the outbox.
"""

import contextlib
import hashlib
import logging
import math
import socket
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError

import zmq

from emitters.config import EmitterSettings
from emitters.control_client import ControlLine
from emitters.core.dialogue import Conversation
from emitters.core.outbox import Outbox
from emitters.core.outgoing import Outgoing
from emitters.core.watching import is_watched
from emitters.errors import RelayRefused, RelayUnavailable, SpoolUnavailable
from relay.shared.transport import Socket, open_socket, send_frames
from relay.wire.control import (
    AccountRequest,
    HelloReply,
    HelloRequest,
    Reply,
    RetainedReply,
    RetainedRequest,
)
from relay.wire.envelope import Envelope, unpack_envelope
from relay.wire.header import EMITTER_ID_BYTES, Header, pack_header
from relay.wire.topics import decode_topic

FULL_SOCKET_RETRY_S = 0.005
SEND_BATCH = 256
"""Events sent before the thread looks at its other sockets again."""
LINGER_S = 1.0
"""How long live values may take from libzmq to the kernel when the emitter is closed."""

logger = logging.getLogger(__name__)


class RelayLink(threading.Thread):
    """Moves events from the outbox to the relay.

    `changed` guards `outbox`; it is notified when the outbox has more room, and when this thread
    can do no more. `identity` is what the relay knows the emitter by.
    """

    def __init__(
        self,
        settings: EmitterSettings,
        identity: str,
        epoch: int,
        outbox: Outbox,
        changed: threading.Condition,
    ) -> None:
        super().__init__(name=f"emitter-{settings.name}", daemon=True)
        self._settings = settings
        self._outbox = outbox
        self._changed = changed
        self.connected = threading.Event()
        self.refusal: str | None = None
        """Why no event can be taken any more."""
        self.is_waiting = False
        """Guarded by `changed`: whether `wake` is needed when the outbox has work."""
        self._epoch = epoch
        self._emitter_id = hashlib.blake2b(identity.encode(), digest_size=EMITTER_ID_BYTES).digest()
        # Packing a whole header for every event costs five times as much.
        self._header_start = pack_header(Header(self._emitter_id, epoch, 0))[:-8]
        self._conversation = Conversation(settings.name, epoch, outbox)
        self._watch_callbacks: list[Callable[[], None]] = []
        self._line = ControlLine()
        self._hello: Future[Reply] | None = None
        self._account: Future[Reply] | None = None
        self._socket_full_until = 0.0
        self._close_at: float | None = None
        self._is_last_account_told = False
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
        return is_watched(topic.encode(), self._conversation.subscriptions)

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

    def close(self, timeout: float) -> None:
        """Send what waits until the relay has acknowledged it, for at most `timeout` seconds.

        Ends the thread.
        """
        self._close_at = time.monotonic() + timeout
        self.wake()
        self.join(timeout + LINGER_S + 1.0)

    def _ask_retained(self, prefix: str, after: bytes | None, timeout: float) -> RetainedReply:
        future = self._line.ask(lambda key: RetainedRequest(id=key, prefix=prefix, after=after))
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
        linger_s = 0.0
        try:
            data = open_socket(context, zmq.XPUB)
            # At the high-water mark the event stays with us instead of being dropped by libzmq.
            data.setsockopt(zmq.XPUB_NODROP, 1)
            data.connect(self._settings.relay_ingress)
            control = open_socket(context, zmq.DEALER)
            control.connect(self._settings.relay_control)
            self._serve(data, control)
            if self._conversation.is_open and self._close_at is not None:
                linger_s = min(LINGER_S, max(0.0, self._close_at - time.monotonic()))
        except Exception:
            logger.exception("the emitter %s has failed and takes no events", self._settings.name)
            self._refuse("this emitter has failed; the log says why")
        finally:
            self.connected.clear()
            self._line.hang_up()
            context.destroy(linger=int(linger_s * 1000))
            self._wake_reader.close()
            self._wake_writer.close()

    def _serve(self, data: Socket, control: Socket) -> None:
        poller = zmq.Poller()
        poller.register(data, zmq.POLLIN)
        poller.register(control, zmq.POLLIN)
        poller.register(self._wake_reader, zmq.POLLIN)
        wake_fd = self._wake_reader.fileno()
        all_said = True
        while not self._is_done():
            ready = {source for source, _ in poller.poll(self._wait_ms())}
            if wake_fd in ready:
                with contextlib.suppress(BlockingIOError):
                    self._wake_reader.recv(4096)
            if data in ready:
                self._read_subscriptions(data)
            if control in ready:
                self._hear(control)
            self._greet(time.monotonic())
            self._send_events(data)
            self._tell_account()
            if self._line.send(control) is not all_said:
                all_said = not all_said
                poller.register(control, zmq.POLLIN if all_said else zmq.POLLIN | zmq.POLLOUT)

    def _wait_ms(self) -> int:
        """How long to wait for anything to be heard; sets whether a wake-up is needed."""
        now = time.monotonic()
        due_at = self._conversation.due_at(now)
        if self._close_at is not None:
            due_at = min(due_at, self._close_at)
        if self._conversation.is_open:
            with self._changed:
                if now < self._socket_full_until:
                    due_at = min(due_at, self._socket_full_until)
                elif self._outbox.has_work:
                    return 0
                self.is_waiting = True
        return max(0, math.ceil(1000 * (due_at - now)))

    def _is_done(self) -> bool:
        if self._close_at is None:
            return False
        if time.monotonic() >= self._close_at or self._conversation.is_fenced:
            return True
        if not self._is_drained():
            return False
        # The last account is worth a round trip, but not a wait for a relay that is gone.
        return not self._conversation.is_accepted or (
            self._is_last_account_told and (self._account is None or self._account.done())
        )

    def _is_drained(self) -> bool:
        with self._changed:
            return not (len(self._outbox) or self._outbox.live.has_new)

    def _read_subscriptions(self, data: Socket) -> None:
        with contextlib.suppress(zmq.Again):
            while True:
                is_gone = self._conversation.hear_subscription(data.recv(zmq.NOBLOCK))
                if is_gone and self._hello is not None:
                    # What it says now is not the next relay's word.
                    self._hello.cancel()
                    self._hello = None
        self._update_connected()
        with self._changed:
            self._outbox.live.interest_changed()
        for callback in self._watch_callbacks:
            try:
                callback()
            except Exception:
                logger.exception("a callback of on_watch_change failed")

    def _hear(self, control: Socket) -> None:
        notices = self._line.receive(control)
        if notices:
            now = time.monotonic()
            with self._changed:
                for notice in notices:
                    self._conversation.hear(notice, now)
                self._changed.notify_all()

    def _update_connected(self) -> None:
        if self._conversation.is_open:
            self.connected.set()
        else:
            self.connected.clear()

    def _greet(self, now: float) -> None:
        """Say hello when it is due, and take the reply."""
        if self._hello is not None and self._hello.done():
            hello, self._hello = self._hello, None
            self._take_hello(hello, now)
        if self._conversation.hello_is_due(now):
            if self._hello is not None:
                self._hello.cancel()
            self._conversation.hello_was_said(now)
            self._hello = self._line.ask(
                lambda key: HelloRequest(
                    id=key,
                    role="emitter",
                    name=self._settings.name,
                    emitter_id=self._emitter_id,
                    emitter_epoch=self._epoch,
                    acknowledged=self._outbox.acknowledged,
                )
            )

    def _take_hello(self, hello: Future[Reply], now: float) -> None:
        try:
            reply = hello.result()
            assert isinstance(reply, HelloReply)
            with self._changed:
                self._conversation.accept(reply, now)
                self._changed.notify_all()
        except RelayRefused as error:
            self._conversation.refuse(error.code, str(error))
            if self._conversation.is_fenced:
                name = self._settings.name
                self._refuse(f"another process has taken the name {name!r} over")
        except SpoolUnavailable as error:
            logger.warning("%s", error)
        self._update_connected()

    def _refuse(self, reason: str) -> None:
        with self._changed:
            self.refusal = reason
            self._changed.notify_all()

    def _send_events(self, data: Socket) -> None:
        if not self._conversation.is_open or time.monotonic() < self._socket_full_until:
            return
        if not (self._send_live(data) and self._send_journaled(data)):
            # An XPUB always polls as writable, so its high-water mark can only be waited out.
            self._socket_full_until = time.monotonic() + FULL_SOCKET_RETRY_S

    def _send_live(self, data: Socket) -> bool:
        """Send the values that somebody watches; return whether the socket took them all."""
        with self._changed:
            self.is_waiting = False
            if not self._outbox.live.has_new:
                return True
            values = self._outbox.live.take(self.is_watched)
        sent = self._send(data, values, 0, 0)
        if sent < len(values):
            with self._changed:
                self._outbox.live.put_back(values[sent:])
        return sent == len(values)

    def _send_journaled(self, data: Socket) -> bool:
        """Send a batch of journaled events; return whether the socket took them all."""
        with self._changed:
            if not self._outbox.in_flight:
                self._conversation.events_were_sent(time.monotonic())
            first, events = self._outbox.take_unsent(SEND_BATCH)
        sent = self._send(data, events, first, 1)
        if sent < len(events):
            with self._changed:
                self._outbox.put_back(len(events) - sent)
        return sent == len(events)

    def _send(self, data: Socket, events: Sequence[Outgoing], first: int, step: int) -> int:
        """Send `events`, numbered from `first` in steps of `step`; return how many went."""
        header_start = self._header_start
        for index, (topic, envelope) in enumerate(events):
            header = header_start + (first + index * step).to_bytes(8, "big")
            try:
                # Only the first frame can meet the high-water mark: libzmq counts whole messages.
                send_frames(data, (topic.text.encode(), header, envelope))
            except zmq.Again:
                return index
        return len(events)

    def _tell_account(self) -> None:
        is_last = self._close_at is not None and self._is_drained()
        with self._changed:
            if is_last:
                self._outbox.live.give_up()
                self._is_last_account_told = True
            counters = self._conversation.account_to_send(time.monotonic(), at_once=is_last)
        if counters is not None:
            self._account = self._line.ask(
                lambda key: AccountRequest(
                    id=key,
                    emitter_id=self._emitter_id,
                    emitter_epoch=self._epoch,
                    counters=counters,
                )
            )
