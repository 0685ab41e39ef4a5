"""`CallSocket`: the connection of `Answers` to the relay, and the thread that owns it."""

import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable

import zmq

from emitters.config import EmitterSettings
from emitters.core.connection_watch import NO_REQUESTS, ConnectionWatch
from emitters.wakeup import WakeUp
from relay.shared.logs import LimitedLog
from relay.shared.transport import Socket, connect, open_socket
from relay.wire.calls import LEASE_S, CallNotice, ResultRequest, ServeRequest, read_call_notice
from relay.wire.control import ErrorReply, pack_message, unpack_map, unpack_reply
from relay.wire.errors import WireError

RENEW_S = LEASE_S / 5
RETRY_S = 0.1
"""Seconds after which a registration is tried again while nobody is connected."""
READ_BATCH = 100
MAX_UNSENT = 2_000
"""Answers that wait for the relay; a further one is given up, and its client learns by its
timeout."""
MAX_UNCONFIRMED = 8
LINGER_MS = 1_000

logger = logging.getLogger(__name__)


class CallSocket:
    """Any thread calls the methods. The thread starts with the first `serve`."""

    def __init__(self, settings: EmitterSettings, take: Callable[[CallNotice], None]) -> None:
        """`take` is called in the thread, for each call."""
        self._name = settings.name
        self._settings = settings
        self._take = take
        self._methods: tuple[str, ...] = ()
        self._unsent: deque[ResultRequest] = deque()
        self._numbers = itertools.count(1)
        self._wake_up = WakeUp()
        self._is_closed = False
        self._changed = threading.Condition()
        self._registered: tuple[str, ...] = ()
        """The methods that the relay has confirmed."""
        self._unconfirmed: dict[int, tuple[str, ...]] = {}
        """Registrations that were sent, by the number of their request."""
        self._thread: threading.Thread | None = None
        self._answered_until = 0.0
        """Until then the relay counts as there: it has answered a registration."""
        self._watch = ConnectionWatch()
        self._log = LimitedLog(logger)

    def serve(self, methods: tuple[str, ...]) -> None:
        """Register `methods`, and no others, from now on."""
        self._methods = methods
        with self._changed:
            if self._thread is None and methods:
                self._thread = threading.Thread(
                    target=self._work, name=f"answers-{self._name}", daemon=True
                )
                self._thread.start()
        self._wake_up.send()

    def answer(self, call: int, result: bytes | None = None, message: str | None = None) -> None:
        """Send the answer to a call."""
        if len(self._unsent) >= MAX_UNSENT:
            self._log.error("unsent", "%d answers wait for the relay; one is lost", MAX_UNSENT)
            return
        number = next(self._numbers)
        self._unsent.append(ResultRequest(id=number, call=call, result=result, message=message))
        self._wake_up.send()

    def wait_registered(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds until the relay has confirmed the methods."""
        with self._changed:
            return self._changed.wait_for(lambda: self._registered == self._methods, timeout)

    def close(self) -> None:
        """Send what can be sent at once, and end the thread."""
        self._is_closed = True
        self._wake_up.send()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        self._wake_up.close()

    # In the thread.

    def _work(self) -> None:
        context: zmq.Context[Socket] = zmq.Context()
        try:
            socket = open_socket(context, zmq.DEALER)
            connect(socket, self._settings.relay_control, self._settings.keys)
            self._serve(socket)
            self._register(socket, ())
            self._send_answers(socket)
        except Exception:
            logger.exception("the answers of %s have failed", self._name)
        finally:
            context.destroy(linger=LINGER_MS)

    def _serve(self, socket: Socket) -> None:
        poller = zmq.Poller()
        poller.register(socket, zmq.POLLIN)
        poller.register(self._wake_up.fileno(), zmq.POLLIN)
        renew_at = 0.0
        tried: tuple[str, ...] = ()
        while not self._is_closed:
            now = time.monotonic()
            if now >= renew_at or self._methods != tried:
                tried = self._methods
                renew_at = now + (RENEW_S if self._register(socket, tried) else RETRY_S)
            self._send_answers(socket)
            wait_s = RETRY_S if self._unsent else max(0.0, renew_at - time.monotonic())
            ready = dict(poller.poll(int(wait_s * 1000) + 1))
            if self._wake_up.fileno() in ready:
                self._wake_up.drain()
            self._read(socket)
            self._look(time.monotonic())

    def _look(self, now: float) -> None:
        """Tell of a relay that is not there, which would otherwise be waited for in silence."""
        if self._watch.is_due(now, None if now < self._answered_until else NO_REQUESTS):
            reason = NO_REQUESTS.text.format(control=self._settings.relay_control)
            logger.error("answers of %s: %s", self._name, reason)

    def _register(self, socket: Socket, methods: tuple[str, ...]) -> bool:
        number = next(self._numbers)
        if not _send(socket, ServeRequest(id=number, name=self._name, methods=methods)):
            return False
        self._unconfirmed[number] = methods
        if len(self._unconfirmed) > MAX_UNCONFIRMED:
            del self._unconfirmed[next(iter(self._unconfirmed))]
        return True

    def _send_answers(self, socket: Socket) -> None:
        while self._unsent and _send(socket, self._unsent[0]):
            self._unsent.popleft()

    def _read(self, socket: Socket) -> None:
        for _ in range(READ_BATCH):
            try:
                frame = socket.recv_multipart(zmq.NOBLOCK)[-1]
            except zmq.Again:
                return
            try:
                self._receive(frame)
            except WireError as error:
                self._log.warning("frame", "a message of the relay is malformed: %s", error)

    def _receive(self, frame: bytes) -> None:
        fields = unpack_map(frame)
        notice = read_call_notice(fields)
        if isinstance(notice, CallNotice):
            self._take(notice)
            return
        self._answered_until = time.monotonic() + LEASE_S
        methods = self._unconfirmed.pop(fields.get("id", 0), None)
        reply = unpack_reply(frame, ResultRequest if methods is None else ServeRequest)
        if isinstance(reply, ErrorReply):
            self._log.error("refused", "the relay refuses: %s", reply.message)
        elif methods is not None:
            with self._changed:
                self._registered = methods
                self._changed.notify_all()


def _send(socket: Socket, request: ServeRequest | ResultRequest) -> bool:
    try:
        socket.send(pack_message(request), zmq.NOBLOCK)
    except zmq.Again:
        return False
    return True
