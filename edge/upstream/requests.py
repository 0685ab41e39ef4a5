"""`RelayRequests`: the edge's requests to the relay over the control socket (section 4)."""

import asyncio
import logging
from collections.abc import Callable
from typing import NamedTuple

from edge.core.streams.inbound import Inbound, Repair
from edge.core.streams.streams import EdgePlace
from edge.upstream.socket import RelaySocket
from relay.shared.logs import LimitedLog
from relay.shared.request_table import RequestTable, TooManyRequests
from relay.wire.control import (
    ErrorReply,
    HelloRequest,
    ReplayReply,
    ReplayRequest,
    Request,
    RetainedReply,
    RetainedRequest,
    pack_message,
)
from relay.wire.errors import WireError
from relay.wire.topics import Pattern

MAX_REQUESTS = 10_000
"""Unsent and unanswered requests. With more, the newest is refused: a subscriber then waits for
the next live value instead of receiving the last one, a repair is requested again a second later,
and a catch-up closes its client with 4013."""
RETRY_S = 2.0
"""A kept request is sent again after this time without an answer."""
REPAIR_EVENTS = 1024
"""Events requested at a time for a repair."""
MAX_REPLIES = 16
MAX_REPLY_BYTES = 4 * 1024 * 1024
"""Replies read before the event loop continues with other work; one has about 1 MiB."""

logger = logging.getLogger(__name__)


class _LastValues(NamedTuple):
    """Waits for pages of retained events; `Inbound` takes each."""

    selector: Pattern


_Fetch = asyncio.Future[ReplayReply]
"""Waits for a replay on behalf of a catch-up."""
_Waiter = Repair | _LastValues | _Fetch | None
"""The purpose of a request; None for a hello."""


class RelayRequests:
    """Sends requests, repeats them, and hands each reply to the part that waits for it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, socket: RelaySocket, name: str) -> None:
        """`name` is this edge's in the relay's log."""
        self.socket = socket
        self._loop = loop
        self._name = name
        self._table: RequestTable[_Waiter] = RequestTable(MAX_REQUESTS, RETRY_S)
        self._hello = 0
        """The number of the last hello; 0, which is no request's, before the first."""
        self._log = LimitedLog(logger)

    def __len__(self) -> int:
        return len(self._table)

    def say_hello(self, place: EdgePlace | None = None) -> None:
        """Introduce this edge to a relay, unless an earlier hello still waits for the socket.

        By `place`, None before the first relay, a relay notices that its journal was rolled back.
        """
        if self._table.next_unsent() is None:
            self._table.drop(self._hello)
            epoch, heads = place or (None, None)
            self._hello = self._ask(
                lambda number: HelloRequest(
                    id=number, role="edge", name=self._name, epoch=epoch, heads=heads
                ),
                None,
            )

    def request_last_values(self, selector: Pattern, after: bytes | None = None) -> None:
        """Request the retained events that `selector` matches; `read_replies` takes the pages."""
        self._ask(
            lambda number: RetainedRequest(
                id=number, prefix=selector.prefix, exact=selector.exact or None, after=after
            ),
            _LastValues(selector),
            keep=True,
        )

    def request_repair(self, repair: Repair) -> None:
        """Request events that were lost on the way; `read_replies` takes them."""
        # Not kept: the follower requests again, from the place that it has reached by then.
        self._ask(
            lambda number: ReplayRequest(
                id=number, stream=repair.stream, after=repair.after, limit=REPAIR_EVENTS
            ),
            repair,
        )

    async def replay(self, stream: str, after: int, limit: int) -> ReplayReply:
        """Return the events of `stream` after the offset `after`, however long that takes.

        Raises `TooManyRequests`.
        """
        fetch: _Fetch = self._loop.create_future()
        number = self._table.add(
            lambda number: ReplayRequest(id=number, stream=stream, after=after, limit=limit),
            fetch,
            keep=True,
        )
        self.send_unsent()
        try:
            return await fetch
        finally:
            self._table.drop(number)

    def check_unanswered(self) -> None:
        """Send unanswered requests again. Called several times a second."""
        self._table.check_unanswered(self._loop.time())
        self.send_unsent()

    def relay_restarted(self) -> None:
        """Send every kept request again: the relay that now answers knows none of them."""
        self._table.relay_restarted()
        self.send_unsent()

    def send_unsent(self) -> None:
        """Send the requests that wait for the socket."""
        while (request := self._table.next_unsent()) is not None:
            if not self.socket.send(pack_message(request)):
                return
            self._table.was_sent(self._loop.time())

    def read_replies(self, inbound: Inbound) -> None:
        """Read the replies that have arrived; `inbound` takes repairs and retained events."""
        for frames in self.socket.messages(MAX_REPLIES, MAX_REPLY_BYTES):
            try:
                self._take(frames[-1], inbound)
            except WireError as error:
                self._log.warning("reply", "the relay's reply is not understood: %s", error)

    def _ask(self, make: Callable[[int], Request], waiter: _Waiter, *, keep: bool = False) -> int:
        try:
            number = self._table.add(make, waiter, keep=keep)
        except TooManyRequests as error:
            self._log.warning("request", "a request to the relay was left out: %s", error)
            return 0
        self.send_unsent()
        return number

    def _take(self, frame: bytes, inbound: Inbound) -> None:
        found = self._table.take_reply(frame)
        if found is None:
            return
        number, waiter, reply = found
        if isinstance(reply, ErrorReply):
            self._log.warning(reply.code, "the relay refused a request: %s", reply.message)
            if isinstance(waiter, asyncio.Future):
                # It stays in the table and is sent again: the journal may be readable by then.
                # The catch-up that waits has a deadline of its own.
                return
        self._table.drop(number)
        match waiter, reply:
            case asyncio.Future(), ReplayReply():
                if not waiter.done():
                    waiter.set_result(reply)
            case Repair(), ReplayReply():
                inbound.take_replay(waiter.stream, reply)
            case _LastValues(), RetainedReply():
                inbound.take_retained(reply.items)
                if reply.next is not None:
                    self.request_last_values(waiter.selector, reply.next)
