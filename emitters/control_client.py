"""An emitter's conversation with the relay's control socket (protocol section 4).

Any thread may ask; the emitter's thread sends and receives, and fulfils the futures.
"""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future

import zmq

from emitters.errors import EmitterClosed, RelayRefused
from relay.shared.logs import LimitedLog
from relay.shared.transport import Socket
from relay.wire.control import ErrorReply, Reply, Request, pack_message, reply_id, unpack_reply
from relay.wire.errors import WireError
from relay.wire.notices import Notice, unpack_notice

logger = logging.getLogger(__name__)


class ControlLine:
    """Questions that wait to be sent, and those that wait for their answer.

    A question whose future is cancelled is forgotten.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next_id = 1
        self._unsent: list[tuple[Request, Future[Reply]]] = []
        self._unanswered: dict[int, tuple[Request, Future[Reply]]] = {}
        self._is_hung_up = False
        self._log = LimitedLog(logger)

    def ask(self, question: Callable[[int], Request]) -> Future[Reply]:
        """Have `question(id)` sent; the future gets its reply.

        It fails with `RelayRefused` when the relay refuses, and with `EmitterClosed` when the
        emitter is closed before there is an answer.
        """
        future: Future[Reply] = Future()
        with self._lock:
            if self._is_hung_up:
                raise EmitterClosed("this emitter was closed")
            self._unsent.append((question(self._next_id), future))
            self._next_id += 1
        return future

    def send(self, control: Socket) -> bool:
        """Send what waits, as far as the socket takes it; return whether all went."""
        if not self._unsent:
            return True
        self._unanswered = {
            key: entry for key, entry in self._unanswered.items() if not entry[1].cancelled()
        }
        with self._lock:
            self._unsent = [entry for entry in self._unsent if not entry[1].cancelled()]
            while self._unsent:
                request, future = self._unsent[0]
                try:
                    control.send(pack_message(request), zmq.NOBLOCK)
                except zmq.Again:
                    return False
                self._unanswered[request.id] = request, future
                del self._unsent[0]
        return True

    def receive(self, control: Socket) -> list[Notice]:
        """Take the replies that have arrived, and return what the relay says by itself."""
        notices: list[Notice] = []
        while True:
            try:
                frame = control.recv_multipart(zmq.NOBLOCK)[-1]
            except zmq.Again:
                return notices
            try:
                notice = unpack_notice(frame)
                if notice is None:
                    self._take(frame)
                else:
                    notices.append(notice)
            except WireError as error:
                self._log.warning("reply", "the relay's word is not understood: %s", error)

    def hang_up(self) -> None:
        """Nobody answers any more."""
        with self._lock:
            self._is_hung_up = True
            waiting = [*self._unsent, *self._unanswered.values()]
        for _, future in waiting:
            if future.set_running_or_notify_cancel():
                future.set_exception(EmitterClosed("this emitter was closed"))

    def _take(self, frame: bytes) -> None:
        entry = self._unanswered.pop(reply_id(frame), None)
        if entry is None:
            return
        request, future = entry
        reply = unpack_reply(frame, type(request))
        if not future.set_running_or_notify_cancel():
            return
        if isinstance(reply, ErrorReply):
            future.set_exception(RelayRefused(reply.code, reply.message))
        else:
            future.set_result(reply)
