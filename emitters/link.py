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
from emitters.core.outbox import Outbox, Outgoing
from emitters.core.watching import is_watched
from emitters.errors import EmitterClosed, RelayUnavailable
from relay.transport import open_socket, receive, send
from relay.wire.control import (
    ErrorReply,
    Hello,
    HelloReply,
    Request,
    Retained,
    RetainedReply,
    pack_message,
    reply_id,
    unpack_reply,
)
from relay.wire.envelope import Envelope, unpack_envelope
from relay.wire.errors import WireError
from relay.wire.header import EMITTER_ID_BYTES, Header, pack_header
from relay.wire.prefixes import PrefixSet
from relay.wire.topics import decode_topic

HELLO_RETRY_S = 1.0
NOT_CONNECTED_RETRY_S = 0.05
FULL_SOCKET_RETRY_MS = 5
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
        self._sequence = 0
        self._journaled_kinds: frozenset[str] | None = None
        """What the relay we are connected to journals; None until it has said so."""
        self._subscriptions = PrefixSet()
        self._watch_callbacks: list[Callable[[], None]] = []
        self._requests: list[tuple[Retained, Future[RetainedReply]]] = []
        self._pending: dict[int, tuple[Retained, Future[RetainedReply]]] = {}
        self._next_request_id = 1
        self._hello_id = 0
        self._hello_due_at = 0.0
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

    def _ask_retained(self, prefix: str, after: bytes | None, timeout: float) -> RetainedReply:
        """Have the thread ask for one page."""
        future: Future[RetainedReply] = Future()
        with self._changed:
            if self._close_at is not None:
                raise EmitterClosed("this emitter was closed")
            request = Retained(id=self._new_request_id(), prefix=prefix, after=after)
            self._requests.append((request, future))
        self.wake()
        try:
            return future.result(max(0.0, timeout))
        except FutureTimeoutError:
            raise RelayUnavailable(
                f"no answer from the relay at {self._settings.relay_control} in time"
            ) from None

    def close(self, timeout: float) -> int:
        """Send what waits for at most `timeout` seconds, end the thread, return what is left."""
        deadline = time.monotonic() + timeout
        with self._changed:
            self._close_at = deadline
        self.wake()
        self.join(timeout + 1.0)
        with self._changed:
            return len(self._outbox)

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
        finally:
            remaining_s = max(0.0, (self._close_at or 0.0) - time.monotonic())
            data.linger = int(remaining_s * 1000)
            data.close()
            control.close()
            context.term()
            for _, future in [*self._requests, *self._pending.values()]:
                future.set_exception(EmitterClosed("this emitter was closed"))
            self._wake_reader.close()
            self._wake_writer.close()

    def _serve(self, data: zmq.Socket[bytes], control: zmq.Socket[bytes]) -> None:
        poller = zmq.Poller()
        poller.register(control, zmq.POLLIN)
        poller.register(self._wake_reader, zmq.POLLIN)
        poller.register(data, zmq.POLLIN)
        wait_ms: int | None = None
        while not self._is_done():
            poller.poll(self._until_due_ms() if wait_ms is None else wait_ms)
            with contextlib.suppress(BlockingIOError):
                self._wake_reader.recv(4096)
            self._read_subscriptions(data)
            self._read_replies(control)
            self._send_requests(control)
            wait_ms = self._send_events(data)

    def _is_done(self) -> bool:
        if self._close_at is None:
            return False
        if time.monotonic() >= self._close_at:
            return True
        with self._changed:
            return len(self._outbox) == 0 and not self._outbox.has_new_live_values

    def _until_due_ms(self) -> int:
        """Until the next hello or the end of `close`; sockets and `wake` do the rest."""
        now = time.monotonic()
        due = [at - now for at in (self._close_at,) if at is not None]
        if self._journaled_kinds is None:
            due.append(self._hello_due_at - now)
        return max(1, int(min(due, default=60.0) * 1000))

    def _read_subscriptions(self, data: zmq.Socket[bytes]) -> None:
        changed = False
        while True:
            try:
                frame = data.recv(zmq.NOBLOCK)
            except zmq.Again:
                break
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
            callback()

    def _lost_relay(self) -> None:
        if self._journaled_kinds is not None:
            logger.warning("lost the relay at %s", self._settings.relay_ingress)
        self._journaled_kinds = None
        self._hello_due_at = 0.0

    def _update_connected(self) -> None:
        kinds = self._journaled_kinds
        open_now = kinds is not None and all(
            f"{kind}:".encode() in self._subscriptions for kind in kinds
        )
        if open_now and not self.connected.is_set():
            logger.debug("connected to the relay at %s", self._settings.relay_ingress)
            self.connected.set()
        elif not open_now:
            self.connected.clear()

    def _read_replies(self, control: zmq.Socket[bytes]) -> None:
        while True:
            try:
                frame = receive(control)[-1]
            except zmq.Again:
                return
            try:
                self._on_reply(frame)
            except WireError as error:
                logger.warning("the relay's reply is not understood: %s", error)

    def _on_reply(self, frame: bytes) -> None:
        identifier = reply_id(frame)
        if identifier == self._hello_id:
            hello = unpack_reply(frame, Hello)
            if isinstance(hello, HelloReply):
                self._on_hello(hello)
            elif isinstance(hello, ErrorReply):
                logger.error("the relay refused this emitter: %s", hello.message)
        elif identifier in self._pending:
            _, future = self._pending.pop(identifier)
            reply = unpack_reply(frame, Retained)
            if isinstance(reply, RetainedReply):
                future.set_result(reply)
            elif isinstance(reply, ErrorReply):
                future.set_exception(RelayUnavailable(reply.message))

    def _on_hello(self, reply: HelloReply) -> None:
        self._journaled_kinds = frozenset(reply.journaled_kinds)
        with self._changed:
            self._outbox.set_journaled_kinds(self._journaled_kinds)
        self._update_connected()

    def _send_requests(self, control: zmq.Socket[bytes]) -> None:
        now = time.monotonic()
        if self._journaled_kinds is None and now >= self._hello_due_at:
            with self._changed:
                self._hello_id = self._new_request_id()
            hello = Hello(
                id=self._hello_id,
                role="emitter",
                name=self._settings.name,
                emitter_id=self._emitter_id,
                emitter_epoch=self._epoch,
            )
            sent = self._try_request(control, hello)
            self._hello_due_at = now + (HELLO_RETRY_S if sent else NOT_CONNECTED_RETRY_S)
        if self._journaled_kinds is None:
            return
        with self._changed:
            requests, self._requests = self._requests, []
        for request, future in requests:
            if self._try_request(control, request):
                self._pending[request.id] = (request, future)
            else:
                with self._changed:
                    self._requests.append((request, future))

    def _try_request(self, control: zmq.Socket[bytes], request: Request) -> bool:
        try:
            send(control, pack_message(request))
        except zmq.Again:
            return False
        return True

    def _new_request_id(self) -> int:
        identifier = self._next_request_id
        self._next_request_id += 1
        return identifier

    def _send_events(self, data: zmq.Socket[bytes]) -> int | None:
        """Send what may go now; return after how many milliseconds to go on, None if all went."""
        if not self.connected.is_set():
            return None
        try:
            self._send_live(data)
            return self._send_journaled(data)
        except zmq.Again:
            # An XPUB always polls as writable, so its high-water mark can only be waited out.
            return FULL_SOCKET_RETRY_MS

    def _send_live(self, data: zmq.Socket[bytes]) -> None:
        with self._changed:
            values = self._outbox.take_live(self.is_watched)
        for index, event in enumerate(values):
            try:
                self._send_event(data, event, sequence=0)
            except zmq.Again:
                with self._changed:
                    self._outbox.put_back_live(values[index:])
                raise

    def _send_journaled(self, data: zmq.Socket[bytes]) -> int | None:
        for _ in range(SEND_BATCH):
            with self._changed:
                event = self._outbox.peek()
            if event is None:
                return None
            self._send_event(data, event, self._sequence + 1)
            self._sequence += 1
            with self._changed:
                self._outbox.pop()
                self._changed.notify_all()
        return 0

    def _send_event(self, data: zmq.Socket[bytes], event: Outgoing, sequence: int) -> None:
        header = pack_header(Header(self._emitter_id, self._epoch, sequence))
        send(data, event.topic.text.encode(), header, event.envelope)
