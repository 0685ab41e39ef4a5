"""`ClientActions`: the requests of clients that take their time: `publish` and `request`.

They are for the application in which the edge is, for manager processes, or for the relay. The
reply comes when there is one, perhaps behind the replies to later requests.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol

from edge.core.hub.audience import Connection
from edge.core.hub.connections import ConnectionManager
from edge.core.protocol import replies
from edge.core.protocol.requests import MethodCall, Publish
from edge.upstream.calls import CallError, MethodCalls
from relay.shared.logs import LimitedLog
from relay.wire.errors import WireError
from relay.wire.topics import Topic

MAX_PENDING = 32
"""Unanswered requests of one connection."""
MAX_PENDING_PER_USER = 256
"""Of all connections of one user to this worker, also of those that have ended: a request waits for
its answer until its time is over. Without it one user could take all the relay's places."""

logger = logging.getLogger(__name__)

Emit = Callable[[Publish], Awaitable[str]]
"""Emits an event and returns its id."""


class ActionRefused(Exception):  # noqa: N818
    """The application refuses the request; the text goes to the client."""


class OwnActions(Protocol):
    """The application's own functions. Both raise `ActionRefused`."""

    def takes(self, topic: Topic) -> bool:
        """Whether there is a function for what clients publish on `topic`."""

    def answers(self, method: str) -> bool:
        """Whether there is a function for `method`."""

    async def publish(self, connection: Connection, request: Publish) -> Any:
        """Return what the function for the event returns."""

    async def call(self, connection: Connection, request: MethodCall) -> Any:
        """Return what the function for the method returns."""


class ClientActions:
    """Performs requests that the session has found allowed, and sends the replies."""

    def __init__(
        self,
        manager: ConnectionManager,
        calls: MethodCalls,
        emit: Emit,
        own: OwnActions | None = None,
    ) -> None:
        """Without `own`, all events are emitted, and other processes answer all methods."""
        self._manager = manager
        self._calls = calls
        self._emit = emit
        self._own = own
        self._log = LimitedLog(logger)
        self._pending: Counter[Connection] = Counter()
        self._pending_of_users: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        """The number of unanswered requests."""
        return len(self._tasks)

    def takes(self, topic: Topic) -> bool:
        """Whether the application itself takes what clients publish on `topic`."""
        return self._own is not None and self._own.takes(topic)

    def answers(self, method: str) -> bool:
        """Whether the application itself answers `method`."""
        return self._own is not None and self._own.answers(method)

    def publish(self, connection: Connection, request: Publish) -> None:
        """Let the application take the event, or emit it."""
        self._begin(connection, request.id, self._publish(connection, request))

    def call(self, connection: Connection, request: MethodCall) -> None:
        """Have the method answered."""
        self._begin(connection, request.id, self._call(connection, request))

    def close(self) -> None:
        """Answer nothing any more."""
        for task in tuple(self._tasks):
            task.cancel()

    def _begin(
        self, connection: Connection, request_id: object, work: Coroutine[Any, Any, bytes]
    ) -> None:
        # Counted for who asks: a connection may change its user before the answer is there.
        username = connection.identity.username
        refusal: bytes | None = None
        if self._pending[connection] >= MAX_PENDING:
            refusal = replies.too_many_requests(MAX_PENDING, request_id)
        elif self._pending_of_users[username] >= MAX_PENDING_PER_USER:
            refusal = replies.too_many_requests_of_user(MAX_PENDING_PER_USER, request_id)
        if refusal is not None:
            work.close()
            self._send(connection, refusal)
            return
        self._pending[connection] += 1
        self._pending_of_users[username] += 1
        task = asyncio.create_task(self._answer(connection, username, request_id, work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(
        self,
        connection: Connection,
        username: str,
        request_id: object,
        work: Coroutine[Any, Any, bytes],
    ) -> None:
        try:
            reply = await work
        except ActionRefused as refused:
            reply = replies.failed("failed", str(refused) or "refused", request_id)
        except CallError as error:
            reply = replies.failed(error.code, str(error), request_id)
        except Exception:  # noqa: BLE001 - logged
            # Its text may tell what no client should know.
            self._log.exception("request", "a client's request has failed")
            reply = replies.failed("failed", "internal error", request_id)
        finally:
            self._end(connection, username)
        self._send(connection, reply)

    def _end(self, connection: Connection, username: str) -> None:
        self._pending[connection] -= 1
        if not self._pending[connection]:
            del self._pending[connection]
        self._pending_of_users[username] -= 1
        if not self._pending_of_users[username]:
            del self._pending_of_users[username]

    async def _publish(self, connection: Connection, request: Publish) -> bytes:
        if self._own is not None and self._own.takes(request.topic):
            result = await self._own.publish(connection, request)
            return replies.published(request.topic, None, result, request.id)
        try:
            event_id = await self._emit(request)
        except WireError as error:
            # It names the field.
            return replies.bad_request(str(error), request.id)
        except Exception as error:  # noqa: BLE001 - whatever it is, the client must learn of it
            self._log.error("emit", "an event of a client was not taken: %s", error)
            return replies.failed("unavailable", "The event was not taken.", request.id)
        return replies.published(request.topic, event_id, None, request.id)

    async def _call(self, connection: Connection, request: MethodCall) -> bytes:
        if self._own is not None and self._own.answers(request.method):
            try:
                async with asyncio.timeout(request.timeout_s) as limit:
                    result = await self._own.call(connection, request)
            except TimeoutError:
                if not limit.expired():
                    raise  # It is of the function, which has ended.
                text = f"No answer to {request.method!r} within {request.timeout_s:g} s"
                return replies.failed("timeout", text, request.id)
        else:
            result = await self._calls.call(
                request.method, request.params, connection.identity, request.timeout_s
            )
            return self._called_elsewhere(request, result)
        return replies.called(request.method, result, request.id)

    def _called_elsewhere(self, request: MethodCall, result: Any) -> bytes:
        """Return the reply with the result of another process, which may be anything."""
        try:
            return replies.called(request.method, result, request.id)
        except TypeError as error:
            name = request.method
            self._log.warning("result", "the answer to %r is not carried by JSON: %s", name, error)
            raise CallError("failed", "the answer cannot be read") from None

    def _send(self, connection: Connection, frame: bytes) -> None:
        if connection in self._manager:
            self._manager.send_to_client(connection, frame)
