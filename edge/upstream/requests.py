"""The edge's questions to the relay, over the control socket (protocol section 4)."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import zmq

from relay.shared.logs import LimitedLog
from relay.shared.transport import Socket, open_socket
from relay.wire.control import (
    ErrorReply,
    HelloRequest,
    ReplayReply,
    ReplayRequest,
    Reply,
    Request,
    RetainedReply,
    RetainedRequest,
    pack_message,
    reply_id,
    unpack_reply,
)
from relay.wire.errors import WireError

MAX_UNSENT_REQUESTS = 10_000
RETRY_S = 2.0
"""After which an unanswered request that somebody waits for is made again."""

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Pending:
    request: Request
    on_reply: Callable[[Reply], bool]
    """Returns whether that was an answer, or the request is to be made again."""
    asked_at: float
    is_kept: bool
    """Whether it is made again until it is answered, also by a restarted relay."""


class ControlLink:
    """Asks, and hands each reply to whoever asked. Driven by `RelayLink`."""

    def __init__(self, context: "zmq.Context[Socket]", endpoint: str, name: str) -> None:
        self._socket = open_socket(context, zmq.DEALER)
        self._socket.setsockopt(zmq.SNDHWM, 0)
        self._endpoint = endpoint
        self._name = name
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pending: dict[int, _Pending] = {}
        self._unsent: deque[int] = deque()
        self._next_request_id = 1
        self._log = LimitedLog(logger)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Connect."""
        self._loop = loop
        self._socket.connect(self._endpoint)
        loop.add_reader(self._socket.fileno(), self.read_replies)

    def close(self) -> None:
        """Ask no more; the socket goes with its context."""
        if self._loop is not None and not self._socket.closed:
            self._loop.remove_reader(self._socket.fileno())

    def say_hello(self) -> None:
        """Introduce this edge to a relay."""
        self._ask(HelloRequest(id=self._new_id(), role="edge", name=self._name), _is_welcome)

    def retained(
        self,
        prefix: str,
        exact: bool,
        on_items: Callable[[tuple[tuple[bytes, bytes, bytes], ...]], None],
        after: bytes | None = None,
    ) -> None:
        """Have `on_items` called with what the relay remembers, a page at a time."""

        def on_reply(reply: Reply) -> bool:
            if isinstance(reply, RetainedReply):
                on_items(reply.items)
                if reply.next is not None:
                    self.retained(prefix, exact, on_items, reply.next)
            return True

        request = RetainedRequest(
            id=self._new_id(), prefix=prefix, exact=True if exact else None, after=after
        )
        self._ask(request, on_reply, is_kept=True)

    def request_replay(
        self, stream: str, after: int, limit: int, on_reply: Callable[[ReplayReply], None]
    ) -> None:
        """Have `on_reply` called with the events that follow `after`, if there is an answer."""
        request = ReplayRequest(id=self._new_id(), stream=stream, after=after, limit=limit)
        # Not kept: whoever follows a stream asks anew from where it is then.
        self._ask(request, lambda reply: _on_replay(reply, on_reply) or True)

    async def replay(self, stream: str, after: int, limit: int) -> ReplayReply:
        """Return the events that follow `after`, asking until there is an answer."""
        assert self._loop is not None
        answer: asyncio.Future[ReplayReply] = self._loop.create_future()

        def on_events(reply: ReplayReply) -> None:
            if not answer.done():
                answer.set_result(reply)

        request = ReplayRequest(id=self._new_id(), stream=stream, after=after, limit=limit)
        self._ask(request, lambda reply: _on_replay(reply, on_events), is_kept=True)
        try:
            return await answer
        finally:
            self._pending.pop(request.id, None)

    def ask_again(self, now: float, *, restarted: bool = False) -> None:
        """Make kept requests again that were not answered in time, all if the relay is new."""
        for identifier, pending in list(self._pending.items()):
            if restarted and not pending.is_kept:
                del self._pending[identifier]
            elif pending.is_kept and (restarted or now - pending.asked_at >= RETRY_S):
                pending.asked_at = now
                if identifier not in self._unsent:
                    self._unsent.append(identifier)
        self.send_unsent()

    def send_unsent(self) -> None:
        """Send what could not be sent before."""
        while self._unsent:
            pending = self._pending.get(self._unsent[0])
            if pending is not None:
                try:
                    self._socket.send(pack_message(pending.request), zmq.NOBLOCK)
                except zmq.Again:
                    return
            self._unsent.popleft()
        if self._loop is not None:
            self._loop.call_soon(self.read_replies)

    def read_replies(self) -> None:
        """Hand on what has arrived."""
        if self._socket.closed:
            return
        while True:
            try:
                frame = self._socket.recv_multipart(zmq.NOBLOCK)[-1]
            except zmq.Again:
                return
            try:
                self._on_reply(frame)
            except WireError as error:
                self._log.warning("reply", "the relay's reply is not understood: %s", error)

    def _ask(
        self, request: Request, on_reply: Callable[[Reply], bool], *, is_kept: bool = False
    ) -> None:
        if len(self._unsent) >= MAX_UNSENT_REQUESTS:
            self._log.warning("request", "the relay's control socket does not take requests")
            return
        asked_at = 0.0 if self._loop is None else self._loop.time()
        self._pending[request.id] = _Pending(request, on_reply, asked_at, is_kept)
        self._unsent.append(request.id)
        self.send_unsent()

    def _on_reply(self, frame: bytes) -> None:
        identifier = reply_id(frame)
        pending = self._pending.pop(identifier, None)
        if pending is None:
            return
        reply = unpack_reply(frame, type(pending.request))
        if isinstance(reply, ErrorReply):
            self._log.warning(reply.code, "the relay refused this edge: %s", reply.message)
        if not pending.on_reply(reply):
            self._pending[identifier] = pending

    def _new_id(self) -> int:
        identifier = self._next_request_id
        self._next_request_id += 1
        return identifier


def _is_welcome(_reply: Reply) -> bool:
    return True


def _on_replay(reply: Reply, on_events: Callable[[ReplayReply], None]) -> bool:
    if not isinstance(reply, ReplayReply):
        return False
    on_events(reply)
    return True
