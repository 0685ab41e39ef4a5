"""`MethodCalls`: calls of methods that other processes answer, over the relay (section 4).

They have a connection of their own, made with the first call: their answers come as notices, in any
order, while the relay answers the requests of the other connection in turn.
"""

import asyncio
import itertools
import logging
from collections.abc import Callable
from typing import Any, Literal

import msgpack

from edge.core.identity.access import Identity
from edge.upstream.socket import RelaySocket
from relay.shared.logs import LimitedLog
from relay.wire.calls import MAX_PARAMS_BYTES, CallRequest, ResultNotice, read_call_notice
from relay.wire.control import ErrorReply, pack_message, unpack_map, unpack_reply
from relay.wire.errors import WireError

MAX_READ = 64
MAX_READ_BYTES = 4 * 1024 * 1024
CONNECT_RETRY_S = 0.05
"""Seconds between two tries while the relay is not connected; a call waits for it."""

CallErrorCode = Literal["unknown_method", "timeout", "failed", "too_many_requests", "bad_request"]
_CODES: dict[str, CallErrorCode] = {
    "unknown_method": "unknown_method",
    "too_many_calls": "too_many_requests",
    "bad_request": "bad_request",
}
"""Of the relay's refusals."""

logger = logging.getLogger(__name__)


class CallError(Exception):
    """A call without a result. `code` is one of the protocol's, the text is for the client."""

    def __init__(self, code: CallErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class MethodCalls:
    """Waits for the results of calls. Nothing is sent again."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, open_socket: Callable[[], RelaySocket]
    ) -> None:
        self._loop = loop
        self._open_socket = open_socket
        self._socket: RelaySocket | None = None
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._log = LimitedLog(logger)

    def __len__(self) -> int:
        """The number of calls without a result."""
        return len(self._waiting)

    async def call(self, method: str, params: Any, identity: Identity, timeout_s: float) -> Any:
        """Return the result of `method`, which `identity` calls with `params`, a JSON value.

        Raises `CallError`, after `timeout_s` seconds at the latest.
        """
        try:
            packed = msgpack.packb(params)
        except (OverflowError, ValueError) as error:
            raise CallError("bad_request", f"params cannot be carried: {error}") from None
        if len(packed) > MAX_PARAMS_BYTES:
            raise CallError("bad_request", f"params have more than {MAX_PARAMS_BYTES} bytes")
        number = next(self._numbers)
        request = CallRequest(
            id=number,
            method=method,
            params=packed,
            username=identity.username,
            role=identity.role,
            timeout_s=timeout_s,
        )
        waiting = self._waiting[number] = self._loop.create_future()
        try:
            async with asyncio.timeout(timeout_s):
                await self._send(pack_message(request))
                return await waiting
        except TimeoutError:
            text = f"No answer to {method!r} within {timeout_s:g} s"
            raise CallError("timeout", text) from None
        finally:
            del self._waiting[number]

    def close(self) -> None:
        """Disconnect; calls that wait fail when their time is over."""
        if self._socket is not None:
            self._socket.close()

    async def _send(self, frame: bytes) -> None:
        if self._socket is None:
            self._socket = self._open_socket()
            self._socket.add_reader(self._read)
        # libzmq does not tell when it is connected.
        while not self._socket.send(frame):  # noqa: ASYNC110
            await asyncio.sleep(CONNECT_RETRY_S)

    def _read(self) -> None:
        assert self._socket is not None
        for frames in self._socket.messages(MAX_READ, MAX_READ_BYTES):
            try:
                self._take(frames[-1])
            except (WireError, ValueError, TypeError, msgpack.UnpackException) as error:
                self._log.warning("calls", "a message of the relay is not understood: %s", error)

    def _take(self, frame: bytes) -> None:
        fields = unpack_map(frame)
        notice = read_call_notice(fields)
        if isinstance(notice, ResultNotice):
            waiting = self._waiting.get(notice.call)
            if waiting is None or waiting.done():
                return
            if notice.result is None:
                waiting.set_exception(CallError("failed", notice.message or "failed"))
                return
            try:
                waiting.set_result(msgpack.unpackb(notice.result))
            except (ValueError, TypeError, msgpack.UnpackException):
                # At once: the client need not wait for an answer that has come.
                waiting.set_exception(CallError("failed", "the answer cannot be read"))
                raise
            return
        reply = unpack_reply(frame, CallRequest)
        waiting = self._waiting.get(reply.id)
        if isinstance(reply, ErrorReply) and waiting is not None and not waiting.done():
            waiting.set_exception(CallError(_CODES.get(reply.code, "failed"), reply.message))
