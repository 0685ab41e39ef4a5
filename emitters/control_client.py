"""`ControlClient`: an emitter's requests on the relay's control socket (protocol section 4).

Any thread asks. The link thread alone sends, receives and resolves the futures.
"""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial

import zmq

from emitters.errors import EmitterClosed, RelayRefused, RelayUnavailable
from relay.shared.logs import LimitedLog
from relay.shared.request_table import RequestTable
from relay.shared.transport import Socket
from relay.wire.control import ErrorReply, Reply, Request, pack_message
from relay.wire.errors import WireError
from relay.wire.notices import Notice, unpack_notice

MAX_REQUESTS = 1000
RESERVED_REQUESTS = 4
"""Room for the link thread's hello and report, whatever other threads ask."""
READ_BATCH = 1000
"""The most messages read at a time."""

logger = logging.getLogger(__name__)


class ControlClient:
    """The requests that are unsent or unanswered, `MAX_REQUESTS` at most.

    A request leaves when its future is resolved or cancelled. There is no other time limit: each
    caller has its own, and cancels.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        """Guards the table. Futures are resolved without it: their callbacks take it."""
        self._table = RequestTable[Future[Reply]](MAX_REQUESTS + RESERVED_REQUESTS)
        self._is_closed = False
        self._log = LimitedLog(logger)

    def ask(
        self, make: Callable[[int], Request], *, max_requests: int = MAX_REQUESTS
    ) -> Future[Reply]:
        """Have the request `make(id)` sent and return the future of its reply.

        The future fails with `RelayRefused` when the relay refuses, and with `EmitterClosed` when
        the emitter is closed before the reply is there. Raises `RelayUnavailable` when
        `max_requests` are unanswered already, and `EmitterClosed`.
        """
        future: Future[Reply] = Future()
        with self._lock:
            if self._is_closed:
                raise EmitterClosed("this emitter was closed")
            if len(self._table) >= max_requests:
                raise RelayUnavailable(f"{max_requests} requests to the relay are unanswered")
            identifier = self._table.add(make, future)
        # Covers replies, refusals and cancellations alike, in whatever thread they happen.
        future.add_done_callback(partial(self._drop, identifier))
        return future

    def send(self, control: Socket) -> bool:
        """Send the unsent requests as far as the socket takes them; return whether it took all."""
        with self._lock:
            while (request := self._table.next_unsent()) is not None:
                try:
                    control.send(pack_message(request), zmq.NOBLOCK)
                except zmq.Again:
                    return False
                self._table.was_sent(time.monotonic())
        return True

    def receive(self, control: Socket) -> list[Notice]:
        """Take the replies that have arrived, and return the notices between them."""
        notices: list[Notice] = []
        for _ in range(READ_BATCH):
            try:
                # The last frame: a peer may put an empty one before it, as for REQ sockets.
                frame = control.recv_multipart(zmq.NOBLOCK)[-1]
            except zmq.Again:
                break
            try:
                notice = unpack_notice(frame)
                if notice is None:
                    self._take_reply(frame)
                else:
                    notices.append(notice)
            except WireError as error:
                # One malformed message must not cost the notices behind it.
                self._log.warning("reply", "a message of the relay is malformed: %s", error)
        return notices

    def close(self) -> None:
        """Fail every request that is not answered, and those to come."""
        with self._lock:
            self._is_closed = True
            # A copy: each future that fails leaves the table.
            waiting = list(self._table.waiters)
        for future in waiting:
            if future.set_running_or_notify_cancel():
                future.set_exception(EmitterClosed("this emitter was closed"))

    def _take_reply(self, frame: bytes) -> None:
        with self._lock:
            answered = self._table.take_reply(frame)
        if answered is None:
            return
        future, reply = answered.waiter, answered.reply
        # False if its thread has cancelled it meanwhile; setting a result would raise then.
        if not future.set_running_or_notify_cancel():
            return
        if isinstance(reply, ErrorReply):
            future.set_exception(RelayRefused(reply.code, reply.message))
        else:
            future.set_result(reply)

    def _drop(self, identifier: int, _future: Future[Reply]) -> None:
        with self._lock:
            self._table.drop(identifier)
