"""`Link`: one WebSocket after another between a `Conversation` and its edge."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from edge.client.core.conversation import Conversation
from edge.client.core.liveness import ATTEMPT_TIMEOUT_S
from edge.client.event_stream import EventBuffer
from relay.shared.extras import extra

with extra("client"):
    import orjson
    from websockets.asyncio.client import ClientConnection
    from websockets.asyncio.client import connect as open_websocket
    from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

ABNORMAL_CLOSURE = 1006
MAX_MESSAGE_BYTES = 8 * 1024 * 1024
"""An envelope has at most 1 MiB, and JSON writes one of its bytes with at most six."""
PING_INTERVAL_S = 20.0
"""Pings show the edge that a client is there whose application reads nothing for a while."""
CLOSE_TIMEOUT_S = 1.0
SLOW_AFTER_S = 10.0

logger = logging.getLogger(__name__)


class Link:
    """Runs connections, and stops reading while a buffer is full."""

    def __init__(
        self,
        talk: Conversation,
        fresh_token: Callable[[], Awaitable[str]],
        options: dict[str, Any],
    ) -> None:
        """`options` go to `websockets.connect`."""
        self.buffers: list[EventBuffer] = []
        self._talk = talk
        self._fresh_token = fresh_token
        defaults = {"max_size": MAX_MESSAGE_BYTES, "ping_interval": PING_INTERVAL_S}
        # The edge's silence is judged by `Liveness`: a pong waits behind events that nobody reads.
        self._options = defaults | {"ping_timeout": None, "open_timeout": None} | options
        self._has_requests = asyncio.Event()
        self._has_room = asyncio.Event()
        self._renew_in_s: float | None = None
        self._renewal: asyncio.Task[None] | None = None

    def wake_up(self) -> None:
        """The conversation may have requests to send, and wait for replies."""
        self._has_requests.set()
        self._has_room.set()

    def made_room(self) -> None:
        """An application has read an event."""
        self._has_room.set()

    async def run(self) -> tuple[int, str]:
        """Open a connection and serve it to its end; return code and reason of the end."""
        try:
            async with asyncio.timeout(ATTEMPT_TIMEOUT_S):
                # The token comes first: once the socket is open, the edge waits 5 s for it.
                token = await self._fresh_token()
        except Exception as error:
            logger.exception("the function `token` failed")
            return ABNORMAL_CLOSURE, f"No token: {error!r}"
        try:
            async with asyncio.timeout(ATTEMPT_TIMEOUT_S):
                socket = await open_websocket(self._talk.address, **self._options)
        except TimeoutError:
            return ABNORMAL_CLOSURE, "No answer"
        except InvalidStatus as error:
            return ABNORMAL_CLOSURE, f"HTTP status {error.response.status_code}"
        except (OSError, InvalidHandshake, EOFError) as error:
            return ABNORMAL_CLOSURE, str(error)
        try:
            async with self._helpers(socket):
                self._talk.opened(token, asyncio.get_running_loop().time())
                return await self._receive(socket)
        finally:
            # An edge that fell silent answers no close frame.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_TIMEOUT_S):
                    await socket.close()
            socket.transport.abort()

    @contextlib.asynccontextmanager
    async def _helpers(self, socket: ClientConnection) -> AsyncIterator[None]:
        """Send requests beside the body; afterwards end everything of this connection."""
        sender = asyncio.create_task(self._send(socket))
        try:
            yield
        finally:
            tasks = [task for task in (sender, self._renewal) if task is not None]
            self._renewal = self._renew_in_s = None
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _send(self, socket: ClientConnection) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(ConnectionClosed):
            while True:
                self._has_requests.clear()
                for request in self._talk.take_requests(loop.time()):
                    await socket.send(orjson.dumps(request), text=True)
                await self._has_requests.wait()

    async def _receive(self, socket: ClientConnection) -> tuple[int, str]:
        """Hand messages to the conversation until the connection ends."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                async with asyncio.timeout_at(self._talk.deadline) as deadline:
                    self.wake_up()
                    while True:
                        self._take(await socket.recv(decode=False), loop.time())
                        if self._must_pause:
                            deadline.reschedule(None)
                            await self._wait_for_room()
                            self._talk.heard(loop.time())
                        deadline.reschedule(self._talk.deadline)
            except TimeoutError:
                if reason := self._talk.check(loop.time()):
                    return ABNORMAL_CLOSURE, reason
            except ConnectionClosed as closed:
                if closed.rcvd is None:
                    return ABNORMAL_CLOSURE, str(closed)
                return closed.rcvd.code, closed.rcvd.reason

    def _take(self, text: bytes, now: float) -> None:
        for buffer in self.buffers:
            buffer.size_of_next = len(text)
        try:
            message = orjson.loads(text)
        except orjson.JSONDecodeError:
            logger.warning("the edge sent a message that is not JSON: %r", text[:100])
            return
        self._talk.received(message, now)
        self.wake_up()
        if self._talk.renew_in_s is not None:
            self._renew_in_s, self._talk.renew_in_s = self._talk.renew_in_s, None
            self._renewal = asyncio.create_task(self._renew(self._renew_in_s))

    @property
    def _must_pause(self) -> bool:
        """Whether an application must read before more may come.

        Not while it waits for a reply, which comes behind the events: it may be the same task.
        """
        return any(buffer.is_full for buffer in self.buffers) and not self._talk.calls.is_awaited

    async def _wait_for_room(self) -> None:
        while self._must_pause:
            self._has_room.clear()
            try:
                async with asyncio.timeout(SLOW_AFTER_S):
                    await self._has_room.wait()
            except TimeoutError:
                logger.warning(
                    "nothing is read from the connection: an iteration has not taken its events"
                    " for %g s",
                    SLOW_AFTER_S,
                )

    async def _renew(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        try:
            token = await self._fresh_token()
        except Exception:
            # The connection ends with 4001, and the next one asks again.
            logger.exception("the function `token` failed")
            return
        self._talk.renew(token)
        self.wake_up()
