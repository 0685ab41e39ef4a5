"""`CallService`: passes calls on to processes that answer, and their results back (section 4)."""

import secrets
from collections.abc import Callable

from relay.core.calls import CallRefused, Calls
from relay.wire.calls import (
    CallNotice,
    CallReply,
    CallRequest,
    ResultNotice,
    ResultReply,
    ResultRequest,
    ServeReply,
    ServeRequest,
    is_method,
    pack_call_notice,
)
from relay.wire.control import ErrorReply, Reply

NUMBER_BITS = 62
"""Of the first call's number, which is random; it leaves room for all that follow."""


class CallService:
    """Requests in, notices out. `now` is in seconds on a monotonic clock."""

    def __init__(self, tell: Callable[[bytes, bytes], bool]) -> None:
        """`tell` sends a peer a frame, and returns whether that peer is connected."""
        self._tell = tell
        self._calls = Calls(secrets.randbits(NUMBER_BITS) + 1)

    def waiting(self, now: float) -> int:
        """Return the number of calls for whose results somebody waits."""
        return self._calls.waiting(now)

    def serve(self, peer: bytes, request: ServeRequest, now: float) -> Reply:
        """Register the methods of a process."""
        wrong = [method for method in request.methods if not is_method(method)]
        if wrong:
            text = f"methods: {wrong[0]!r} is not the name of a method"
            return ErrorReply(id=request.id, code="bad_request", message=text)
        try:
            self._calls.serve(peer, request.methods, now)
        except CallRefused as refused:
            return ErrorReply(id=request.id, code="too_many_calls", message=str(refused))
        return ServeReply(id=request.id)

    def call(self, caller: bytes, request: CallRequest, now: float) -> Reply:
        """Pass a call on to the process whose turn it is."""
        try:
            own = self._calls.begin(caller, request.id, now, request.timeout_s)
        except CallRefused as refused:
            return ErrorReply(id=request.id, code="too_many_calls", message=str(refused))
        notice = pack_call_notice(
            CallNotice(
                own,
                request.method,
                request.params,
                request.username,
                request.role,
                request.timeout_s,
            )
        )
        for server in self._calls.servers_of(request.method, now):
            if self._tell(server, notice):
                self._calls.passed_on(own, request.method, server)
                return CallReply(id=request.id)
            self._calls.forget_server(server)
        self._calls.end(own)
        text = f"no process answers {request.method!r}"
        return ErrorReply(id=request.id, code="unknown_method", message=text)

    def result(self, server: bytes, request: ResultRequest) -> Reply:
        """Pass a result on to the edge that waits for it."""
        waiting = self._calls.end(request.call, server)
        if waiting is not None:
            notice = ResultNotice(waiting.number, request.result, request.message)
            self._tell(waiting.caller, pack_call_notice(notice))
        return ResultReply(id=request.id)
