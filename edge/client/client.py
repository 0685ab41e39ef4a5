"""`connect`, and the `RelayClient` that it returns: one connection after another to one edge."""

import asyncio
import inspect
import logging
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeAlias
from urllib.parse import urlsplit

from edge.client.core.calls import ClientCall, Outcome
from edge.client.core.conversation import Conversation
from edge.client.core.errors import (
    ClientError,
    EdgeUnreachable,
    EventsLost,
    RequestFailed,
    RequestRefused,
)
from edge.client.core.messages import ConnectionState, Epoch, Loss, PublishResult
from edge.client.core.subscriptions import Sink
from edge.client.event_stream import EventBuffer, EventStream
from edge.client.link import Link
from relay.shared.extras import extra

with extra("client"):
    import orjson

Token: TypeAlias = str | Callable[[], str | Awaitable[str]]
"""A JWT, or a function that returns a new one; the function may be async."""

MAX_LAST = 1000
MAX_TIMEOUT_S = 3600.0
ID_AND_TIMEOUT_BYTES = 64

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """The arguments of `connect`, apart from the address and the token."""

    on_loss: Callable[[Loss], object] | None
    on_state: Callable[[ConnectionState], object] | None
    max_delay_s: float
    open_timeout_s: float | None
    max_queued: int
    max_queued_bytes: int
    max_request_bytes: int
    websocket: dict[str, Any]


def connect(
    url: str,
    *,
    token: Token,
    on_loss: Callable[[Loss], object] | None = None,
    on_state: Callable[[ConnectionState], object] | None = None,
    max_delay_s: float = 3.0,
    open_timeout_s: float | None = 10.0,
    max_queued: int = 1000,
    max_queued_bytes: int = 16 * 1024 * 1024,
    max_request_bytes: int = 64 * 1024,
    **websocket: Any,
) -> "RelayClient":
    """Return a client of the edge at `url`, for `async with` (protocol section 7).

    `token` is a JWT, or a function that returns one. The function is called before each connection
    and before the token expires; without it the connection ends for good when the token expires.

    Lost events are raised as `EventsLost` in the iterations that they concern, or passed to
    `on_loss` instead. `on_state` is called with each new state.

    `max_delay_s` is the longest usual delay between two tries. `async with` waits `open_timeout_s`
    for the first connection and then raises `EdgeUnreachable`; None waits for ever.

    If `max_queued` events or `max_queued_bytes` wait in one iteration, the client stops reading:
    nothing is dropped here. The edge merges live values meanwhile, and after its own bound closes
    the connection, which then resumes. While a `publish` or `request` waits for its reply, the
    client reads on: the reply comes behind the events.

    A `publish` or `request` of more than `max_request_bytes` is refused here. The edge has the same
    bound, `EDGE_MAX_MESSAGE_BYTES`, and would close the connection.

    Further options are those of `websockets.connect`, such as `ssl` and `additional_headers`.
    """
    if urlsplit(url).scheme not in ("ws", "wss"):
        raise ValueError(f"url: must begin with ws:// or wss://, not {url!r}")
    if max_queued < 1 or max_queued_bytes < 1:
        raise ValueError("max_queued and max_queued_bytes: must be at least 1")
    bounds = (max_delay_s, open_timeout_s, max_queued, max_queued_bytes, max_request_bytes)
    return RelayClient(url, token, ClientOptions(on_loss, on_state, *bounds, websocket))


class RelayClient:
    """Keeps a connection to the edge, and resumes after a lost one. Use it with `async with`."""

    def __init__(self, url: str, token: Token, options: ClientOptions) -> None:
        self._url = url
        self._token = token
        self._options = options
        self._talk = Conversation(
            url, self, max_delay_s=options.max_delay_s, has_fresh_tokens=not isinstance(token, str)
        )
        self._link = Link(self._talk, self._fresh_token, options.websocket)
        self._task: asyncio.Task[None] | None = None
        self._state_changed = asyncio.Event()

    @property
    def state(self) -> ConnectionState:
        """The present state."""
        return self._talk.state

    @property
    def position(self) -> tuple[Epoch | None, dict[str, int]]:
        """The epoch, and the last offset that has arrived of each stream."""
        return self._talk.seen.epoch, dict(self._talk.seen.offsets)

    # Events.

    def subscribe(self, pattern: str, *, last: int | None = None) -> EventStream:
        """Return the events of a topic, of a prefix that ends in `*`, or of `*` alone.

        With `last`, from 1 to 1000, it begins with so many of the newest matching events of each
        stream. Iterations of one pattern share one subscription, and `last` counts for the first.
        """
        if last is not None and not 1 <= last <= MAX_LAST:
            raise ValueError(f"last: must be from 1 to {MAX_LAST}, not {last}")
        buffer = self._new_buffer()
        subscription = self._talk.subscribe(pattern, buffer, last)
        self._link.wake_up()
        return self._stream(buffer, partial(self._talk.unsubscribe, subscription, buffer))

    def tasks(self) -> EventStream:
        """Return the updates of the user's own tasks, which need no subscription.

        First comes the latest state of each unfinished task, marked `retained`.
        """
        return self._personal("task")

    def addressed(self) -> EventStream:
        """Return the events that are for this user alone, of any topic, without a subscription."""
        return self._personal("addressed")

    def _personal(self, stream: str) -> EventStream:
        buffer = self._new_buffer()
        buffer.confirmed()
        self._talk.listen(stream, buffer)
        return self._stream(buffer, partial(self._talk.stop_listening, stream, buffer))

    def _new_buffer(self) -> EventBuffer:
        options = self._options
        buffer = EventBuffer(options.max_queued, options.max_queued_bytes, self._link.made_room)
        self._link.buffers.append(buffer)
        if self._task is not None and self._task.done():
            buffer.end(self._talk.error)
        return buffer

    def _stream(self, buffer: EventBuffer, remove: Callable[[], None]) -> EventStream:
        loop = asyncio.get_running_loop()
        return EventStream(buffer, partial(_call_soon, loop, partial(self._end, buffer, remove)))

    def _end(self, buffer: EventBuffer, remove: Callable[[], None]) -> None:
        remove()
        self._link.buffers.remove(buffer)
        self._link.made_room()
        self._link.wake_up()

    # Events and calls of the application.

    async def publish(
        self,
        topic: str,
        data: Any,
        *,
        type: str | None = None,
        username: str | None = None,
        timeout_s: float = 30.0,
    ) -> PublishResult:
        """Publish `data`, any JSON value, on `topic` (protocol section 7, "Publish").

        With `username` the event is for that user alone. Without a connection it waits for one.
        Raises `RequestRefused`; `NotSent` without a connection within `timeout_s`; `OutcomeUnknown`
        if the connection is lost or `timeout_s` passes before the reply.
        """
        named = {"type": type, "username": username}
        given = {name: value for name, value in named.items() if value is not None}
        request = {"action": "publish", "topic": topic, "data": _json("data", data), **given}
        reply = await self._perform(request, timeout_s)
        return PublishResult(reply.get("event_id"), reply.get("result"))

    async def request(self, method: str, params: Any = None, *, timeout_s: float = 30.0) -> Any:
        """Have `method` answered by the application or a manager; return the result.

        `params` is any JSON value (protocol section 7, "Request"). The call reaches one process
        once or never. Raises the errors of `publish`; `RequestRefused` with the code `failed` if
        the method has refused, with its text.
        """
        request = {"action": "request", "method": method, "params": _json("params", params)}
        return (await self._perform(request, timeout_s)).get("result")

    async def _perform(self, request: dict[str, Any], timeout_s: float) -> Mapping[str, Any]:
        if not 0 < timeout_s <= MAX_TIMEOUT_S:
            raise ValueError(f"timeout_s: must be up to {MAX_TIMEOUT_S:g}, not {timeout_s}")
        most = self._options.max_request_bytes
        if (size := len(orjson.dumps(request)) + ID_AND_TIMEOUT_BYTES) > most:
            text = f"{request['action']}: has {size} bytes, more than max_request_bytes ({most})"
            raise RequestRefused("too_large", text)
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[Outcome] = loop.create_future()
        call = ClientCall(request, timeout_s, loop.time() + timeout_s, partial(_settle, outcome))
        self._talk.calls.add(call)
        self._link.wake_up()
        try:
            async with asyncio.timeout_at(call.deadline):
                reply = await outcome
        except TimeoutError:
            raise self._talk.calls.give_up(call) from None
        except asyncio.CancelledError:
            self._talk.calls.give_up(call)
            raise
        if isinstance(reply, RequestFailed):
            raise reply
        return reply

    # The life of the client.

    async def __aenter__(self) -> Self:
        if self._task is not None:
            raise RuntimeError("a client connects once: call connect() again")
        self._task = asyncio.create_task(self._run(), name="event-relay-client")
        try:
            async with asyncio.timeout(self._options.open_timeout_s):
                await self._wait_open()
        except TimeoutError:
            state = self.state
            await self.close()
            why = state.reason or "no answer"
            raise EdgeUnreachable(f"no connection to {self._url}: {why}") from None
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End the connection for good. Iterations end after the events that have arrived."""
        task = self._task
        if task is None or task is asyncio.current_task():
            return
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled() and (fault := task.exception()) is not None:
            raise fault

    async def _wait_open(self) -> None:
        while self.state.name != "live":
            if self._task is not None and self._task.done():
                raise self._talk.error or ClientError("the client is closed")
            self._state_changed.clear()
            await self._state_changed.wait()

    async def _run(self) -> None:
        """Open one connection after another, until the edge closes for good."""
        try:
            while True:
                self._talk.connecting()
                code, reason = await self._link.run()
                delay_s = self._talk.lost(code, reason, random.random)
                if delay_s is None:
                    return
                await asyncio.sleep(delay_s)
        except Exception as fault:
            self._talk.error = ClientError(f"the client failed: {fault!r}")
            raise
        finally:
            self._talk.closed()
            for buffer in tuple(self._link.buffers):
                buffer.end(self._talk.error)
            self._state_changed.set()

    async def _fresh_token(self) -> str:
        """Return a token; raise whatever the function raises."""
        if isinstance(self._token, str):
            return self._token
        returned = self._token()
        token = await returned if inspect.isawaitable(returned) else returned
        if not isinstance(token, str):
            raise TypeError(f"token: the function must return a str, not {type(token).__name__}")
        return token

    # See `Observer`.

    def state_changed(self, state: ConnectionState) -> None:
        """See `Observer`."""
        if state.name == "waiting":
            logger.info("connection to %s lost: %s %s", self._url, state.code, state.reason)
        self._state_changed.set()
        _report_faults(self._options.on_state, state)

    def lost(self, loss: Loss, sinks: Iterable[Sink]) -> None:
        """See `Observer`."""
        if self._options.on_loss is not None:
            _report_faults(self._options.on_loss, loss)
            return
        for sink in sinks:
            sink.problem(EventsLost(loss))

    def failed(self, error: RequestRefused) -> None:
        """See `Observer`."""
        logger.warning("the edge refused a request: %s (%s)", error, error.code)


def _json(name: str, value: object) -> orjson.Fragment:
    """Return the value as JSON, so that the caller may change it afterwards."""
    try:
        return orjson.Fragment(orjson.dumps(value))
    except TypeError as error:
        raise TypeError(f"{name}: {error}") from None


def _settle(future: asyncio.Future[Outcome], outcome: Outcome) -> None:
    """Wake up the caller, which may have been cancelled just now."""
    if not future.done():
        future.set_result(outcome)


def _call_soon(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    """Run `call` on the loop: the garbage collector may run in any thread."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(call)


def _report_faults(callback: Callable[[Any], object] | None, value: object) -> None:
    """Call the application's function. Its fault must not end the connection of all others."""
    try:
        if callback is not None:
            callback(value)
    except Exception:
        logger.exception("the function %r failed", callback)
