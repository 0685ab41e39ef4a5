"""`RelayRequests`: the edge's requests to the relay over the control socket (section 4).

What is asked next, how large an answer may be and whether the relay answers is decided in
`edge.core.control`. A replay never waits for a retained page that is not under way yet.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from functools import partial
from itertools import chain

from edge.core.catch_up.connection_catch_up import ReplayFailed
from edge.core.control.answer_size import AnswerSize
from edge.core.control.control_health import ControlHealth
from edge.core.control.last_value_requests import LastValueRequests, RetainedPage
from edge.core.streams.inbound import Inbound, Repair
from edge.core.streams.streams import EdgePlace
from edge.upstream.socket import RelaySocket
from relay.shared.logs import LimitedLog
from relay.shared.request_table import Answer, RequestTable, TooManyRequests
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

MAX_REQUESTS = 1_000
"""Unsent and unanswered requests: one for each stream that misses events, one for each read of a
catch-up, one retained page, one hello. With more, the newest is refused."""
RETRY_S = 1.0
"""A request that the relay refused, or a replay that brought nothing, is sent again after it."""
REPAIR_EVENTS = 1024
"""Events requested at a time for a repair."""
MAX_REPLIES = 16
MAX_REPLY_BYTES = 4 * 1024 * 1024
"""Replies read before the event loop continues with other work; one has about 1 MiB."""

logger = logging.getLogger(__name__)

_Fetch = asyncio.Future[ReplayReply]
"""Waits for a replay on behalf of a catch-up."""
_Waiter = Repair | RetainedPage | _Fetch | None
"""The purpose of a request; None for a hello."""


class RelayRequests:
    """Sends requests, repeats those that were lost, and hands each reply to who waits for it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, socket: RelaySocket, name: str) -> None:
        """`name` is this edge's in the relay's log."""
        self.socket = socket
        self.health = ControlHealth()
        self._loop = loop
        self._name = name
        self._table: RequestTable[_Waiter] = RequestTable(MAX_REQUESTS)
        self._last_values = LastValueRequests()
        self._answer_size = AnswerSize()
        self._answered_at = 0.0
        """When the last answer came, in loop time."""
        self._hello = 0
        """The number of the last hello; 0, which is no request's, before the first."""
        self._may_look_up: Callable[[str], bool] = lambda _: True
        self._spend: Callable[[str, int, int], object] = lambda *_: None
        self._log = LimitedLog(logger)

    def __len__(self) -> int:
        """The number of requests for which somebody waits."""
        waiting = sum(waiter is not None for waiter in self._table.waiters)
        return waiting + len(self._last_values)

    def charge(
        self, may_look_up: Callable[[str], bool], spend: Callable[[str, int, int], object]
    ) -> None:
        """From now on, users have a budget for retained values.

        `may_look_up` says whether a user's turn may come now. `spend` takes the user, the number of
        values, and their bytes.
        """
        self._may_look_up, self._spend = may_look_up, spend

    def say_hello(self, place: EdgePlace | None = None) -> None:
        """Introduce this edge to a relay, unless an earlier hello still waits for the socket.

        By `place`, None before the first relay, a relay notices that its journal was rolled back.
        """
        if self._table.next_unsent() is None:
            self._table.drop(self._hello)
            self.health.probe_sent(self._loop.time())
            epoch, heads = place or (None, None)
            self._hello = self._ask(
                lambda number: HelloRequest(
                    id=number, role="edge", name=self._name, epoch=epoch, heads=heads
                ),
                None,
            )

    def request_last_values(self, selector: Pattern, username: str = "") -> None:
        """Request the retained events that `selector` matches, for the first client with it.

        `username` is the client's, whose turns it takes; empty for the edge itself.
        """
        self._last_values.want(selector, username)
        self.send_unsent()

    def forget_last_values(self, selector: Pattern) -> None:
        """The last client with `selector` has gone: request nothing more for it."""
        self._last_values.forget(selector)

    def request_repair(self, repair: Repair) -> bool:
        """Request events that were lost on the way; return False if there is no room for it."""
        # Not kept: the follower requests again, from the place that it has reached by then.
        make = partial(self._replay_request, repair.stream, repair.after, REPAIR_EVENTS)
        number = self._ask(make, repair)
        return number != 0

    async def replay(self, stream: str, after: int, limit: int) -> ReplayReply:
        """Return the events of `stream` after the offset `after`.

        Raises `ReplayFailed` when the relay replays nothing for `REPLAY_TIMEOUT_S`, and
        `TooManyRequests`.
        """
        fetch: _Fetch = self._loop.create_future()
        make = partial(self._replay_request, stream, after, limit)
        number = self._table.add(make, fetch, keep=True)
        self.send_unsent()
        try:
            return await fetch
        finally:
            self._table.drop(number)

    def tick(self, inbound: Inbound) -> None:
        """Do what is due by time. Called several times a second."""
        now = self._loop.time()
        waiters = tuple(self._table.waiters)
        due = self.health.tick(
            now, is_waiting=bool(waiters), is_replay_waiting=any(map(_is_replay, waiters))
        )
        if due.replays_failed:
            self._fail_fetches(waiters)
        if due.reconnect:
            logger.warning("no answer from the relay at %s: connecting anew", self.socket.endpoint)
            self.socket.reconnect()
            self.lose_all(inbound)
        self._table.queue_due(now)
        if due.probe:
            self.say_hello(inbound.place)
        self.send_unsent()

    def lose_all(self, inbound: Inbound) -> None:
        """Send again what somebody waits for: the relay that now answers knows none of it."""
        self._lose(self._table.lose_all(), inbound)
        self.send_unsent()

    def send_unsent(self) -> None:
        """Send the requests that wait for the socket, and then the next retained page."""
        while (request := self._table.next_unsent()) is not None:
            if not self._send(request):
                return
        self._ask_for_a_page()

    def read_replies(self, inbound: Inbound) -> bool:
        """Read the replies that have arrived; return whether there were any.

        `inbound` takes repairs and retained events.
        """
        frames: list[bytes] = []
        for frames in self.socket.messages(MAX_REPLIES, MAX_REPLY_BYTES):
            now = self._loop.time()
            self.health.hear(now)
            try:
                answer = self._table.take_reply(frames[-1])
            except WireError as error:
                self._log.warning("reply", "the relay's reply is not understood: %s", error)
                continue
            if answer is not None:
                self._lose(self._table.lose_before(answer.identifier), inbound)
                since = max(answer.sent_at, self._answered_at)
                self._answer_size.take_answer(len(frames[-1]), now - since)
                self._take(answer, inbound, now)
            self._answered_at = now
        if frames:
            # Only then: to send is to be called again, and without a connection this never ends.
            self.send_unsent()
        return bool(frames)

    def _ask(self, make: Callable[[int], Request], waiter: _Waiter) -> int:
        try:
            number = self._table.add(make, waiter)
        except TooManyRequests as error:
            self._log.warning("request", "a request to the relay was left out: %s", error)
            return 0
        self.send_unsent()
        return number

    def _send(self, request: Request) -> bool:
        """Send the request that is next; return whether the socket took it."""
        was_taken = self.socket.send(pack_message(request))
        if was_taken:
            self._table.was_sent(self._loop.time())
        return was_taken

    def _ask_for_a_page(self) -> None:
        """Request the next page of retained values, if it is time for one."""
        page = self._last_values.begin_page(self._may_look_up)
        if page is None:
            return
        try:
            number = self._table.add(partial(self._page_request, page), page)
        except TooManyRequests:
            self._last_values.lose_page()
            return
        request = self._table.next_unsent()
        if request is not None and not self._send(request):
            # Not left unsent: a replay that is requested meanwhile goes first.
            self._table.drop(number)
            self._last_values.lose_page()

    def _page_request(self, page: RetainedPage, number: int) -> RetainedRequest:
        return RetainedRequest(
            id=number,
            prefix=page.selector.prefix,
            exact=page.selector.exact or None,
            after=page.after,
            max_bytes=self._answer_size.max_bytes,
        )

    def _replay_request(self, stream: str, after: int, limit: int, number: int) -> ReplayRequest:
        return ReplayRequest(
            id=number,
            stream=stream,
            after=after,
            limit=limit,
            max_bytes=self._answer_size.max_bytes,
        )

    def _take(self, answer: Answer[_Waiter], inbound: Inbound, now: float) -> None:
        number, waiter, reply = answer.identifier, answer.waiter, answer.reply
        if isinstance(reply, ErrorReply):
            self._log.warning(reply.code, "the relay refused a request: %s", reply.message)
            if _is_replay(waiter):
                # The journal may be readable by then.
                self._table.postpone(number, now + RETRY_S)
                return
        match waiter, reply:
            case Repair(), ReplayReply() if not inbound.take_replay(waiter.stream, reply):
                self._table.postpone(number, now + RETRY_S)
                return
            case asyncio.Future(), ReplayReply() if not waiter.done():
                waiter.set_result(reply)
            case RetainedPage(), RetainedReply():
                inbound.take_retained(reply.items)
                size_bytes = sum(map(len, chain.from_iterable(reply.items)))
                self._spend(self._last_values.under_way_for, len(reply.items), size_bytes)
                self._last_values.end_page(reply.next)
            case RetainedPage(), _:
                self._last_values.end_page(None)
        if isinstance(reply, ReplayReply):
            self.health.hear(now, is_replay=True)
        self._table.drop(number)

    def _lose(self, waiters: Iterable[_Waiter], inbound: Inbound) -> None:
        """The requests of `waiters` were dropped without an answer."""
        for waiter in waiters:
            match waiter:
                case Repair():
                    inbound.lose_repair(waiter.stream)
                case RetainedPage():
                    self._last_values.lose_page()

    def _fail_fetches(self, waiters: Iterable[_Waiter]) -> None:
        for waiter in waiters:
            if isinstance(waiter, asyncio.Future) and not waiter.done():
                waiter.set_exception(ReplayFailed("the relay does not replay events"))


def _is_replay(waiter: _Waiter) -> bool:
    return isinstance(waiter, Repair | asyncio.Future)
