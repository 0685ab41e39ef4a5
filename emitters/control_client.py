"""`ControlClient`: an emitter's requests on the relay's control socket (protocol section 4).

Any thread asks and waits. The link thread alone sends, receives, and answers. Nothing is locked, as
in `emitters.mailbox`.
"""

import logging
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import zmq

from emitters.errors import EmitterClosed, RelayRefused, RelayUnavailable
from emitters.waiters import Waiters
from relay.shared.logs import LimitedLog
from relay.shared.request_table import RequestTable
from relay.shared.transport import Socket
from relay.wire.control import ErrorReply, Reply, Request, pack_message
from relay.wire.errors import WireError
from relay.wire.notices import DemandNotice, ForbiddenNotice, Notice, unpack_notice

MAX_REQUESTS = 1000
RESERVED_REQUESTS = 4
"""Room for the link thread's hello and report, whatever other threads ask."""
READ_BATCH = 1000
"""The most messages read at a time."""

CLOSED = "this emitter was closed"

logger = logging.getLogger(__name__)


class PendingReply:
    """The reply to one request, as soon as it is there.

    A request leaves when it is answered, or when nobody holds its `PendingReply` any more.
    """

    def __init__(self, waiters: Waiters) -> None:
        self._waiters = waiters
        self._outcome: Reply | Exception | None = None
        self.is_cancelled = False

    @property
    def is_done(self) -> bool:
        """Whether there is a reply, or an error in its place."""
        return self._outcome is not None

    def result(self, timeout_s: float = 0.0) -> Reply | None:
        """Return the reply; None if there is none within `timeout_s` seconds.

        Raises `RelayRefused` when the relay refused, `RelayUnavailable` when too many requests are
        unanswered, and `EmitterClosed` when the emitter was closed before the reply was there.
        """
        self._waiters.wait(lambda: self.is_done, timeout_s)
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome

    def cancel(self) -> None:
        """Wait no more: a reply is ignored."""
        self.is_cancelled = True

    def answer(self, outcome: Reply | Exception) -> None:
        """Give the reply or the error. Only the link thread calls it."""
        self._outcome = outcome


class _Asked(NamedTuple):
    make: Callable[[int], Request]
    # Weak: a thread that was interrupted has forgotten it, and did not come to cancel it.
    pending: "weakref.ref[PendingReply]"
    max_requests: int


class ControlClient:
    """The requests that are unsent or unanswered, `MAX_REQUESTS` at most.

    There is no time limit: each caller has its own.
    """

    def __init__(self) -> None:
        self._waiters = Waiters()
        self._asked: deque[_Asked] = deque()
        """The requests that the link thread has not seen yet, one for each waiting thread."""
        self._table = RequestTable["weakref.ref[PendingReply]"](MAX_REQUESTS + RESERVED_REQUESTS)
        self._ids: dict[int, weakref.ref[PendingReply]] = {}
        self._is_closed = False
        self._log = LimitedLog(logger)

    # Any thread.

    def ask(
        self, make: Callable[[int], Request], *, max_requests: int = MAX_REQUESTS
    ) -> PendingReply:
        """Have the request `make(id)` sent and return its reply to come.

        The reply is an error when `max_requests` are unanswered already, and after `close`.
        """
        pending = PendingReply(self._waiters)
        self._asked.append(_Asked(make, weakref.ref(pending), max_requests))
        # Looked at afterwards: either this thread sees it, or `close` sees the request.
        if self._is_closed:
            pending.answer(EmitterClosed(CLOSED))
        return pending

    # The link thread.

    def send(self, control: Socket) -> bool:
        """Send the unsent requests as far as the socket takes them; return whether it took all."""
        self._adopt()
        while (request := self._table.next_unsent()) is not None:
            try:
                control.send(pack_message(request), zmq.NOBLOCK)
            except zmq.Again:
                return False
            self._table.was_sent(time.monotonic())
        return True

    def receive(self, control: Socket) -> list[Notice | DemandNotice | ForbiddenNotice]:
        """Take the replies that have arrived, and return the notices between them."""
        notices: list[Notice | DemandNotice | ForbiddenNotice] = []
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
        self._waiters.notify()
        return notices

    def close(self) -> None:
        """Fail every request that is not answered, and those to come."""
        self._is_closed = True
        waiting = list(self._ids.values())
        while self._asked:
            waiting.append(self._asked.popleft().pending)
        for reference in waiting:
            if (pending := reference()) is not None:
                pending.answer(EmitterClosed(CLOSED))
        self._waiters.notify()

    def _adopt(self) -> None:
        """Move what other threads ask to the table, and drop what nobody waits for."""
        self._drop_unwanted()
        while self._asked:
            make, reference, max_requests = self._asked.popleft()
            pending = reference()
            if pending is None or pending.is_cancelled:
                continue
            if len(self._table) >= max_requests:
                pending.answer(
                    RelayUnavailable(f"{max_requests} requests to the relay are unanswered")
                )
                self._waiters.notify()
                continue
            self._ids[self._table.add(make, reference)] = reference

    def _drop_unwanted(self) -> None:
        for identifier, reference in list(self._ids.items()):
            pending = reference()
            if pending is None or pending.is_cancelled:
                self._drop(identifier)

    def _take_reply(self, frame: bytes) -> None:
        answered = self._table.take_reply(frame)
        if answered is None:
            return
        identifier, reference, reply, _ = answered
        self._drop(identifier)
        pending = reference()
        if pending is None or pending.is_cancelled:
            return
        if isinstance(reply, ErrorReply):
            pending.answer(RelayRefused(reply.code, reply.message))
        else:
            pending.answer(reply)

    def _drop(self, identifier: int) -> None:
        self._ids.pop(identifier, None)
        self._table.drop(identifier)
