"""`CallTable`: the events and calls of a client. Each is sent once or never (protocol section 7,
"Publish" and "Request").
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from edge.client.core.errors import NotSent, OutcomeUnknown, RequestFailed, refusal

MAX_UNANSWERED = 32
"""The edge refuses a further one; it waits here instead."""

Outcome: TypeAlias = Mapping[str, Any] | RequestFailed
"""The edge's reply, or the error."""


@dataclass(eq=False, slots=True)
class ClientCall:
    """One message on its way, and the caller that waits for its outcome."""

    request: dict[str, Any]
    timeout_s: float
    deadline: float
    """Monotonic, in seconds."""
    settle: Callable[[Outcome], None]
    """Called once, unless the caller gives up before."""
    is_sent: bool = False
    is_awaited: bool = True

    def end(self, outcome: Outcome) -> None:
        """Tell the caller, if it still waits."""
        if self.is_awaited:
            self.is_awaited = False
            self.settle(outcome)

    @property
    def what(self) -> str:
        """The call in an error's text."""
        return repr(self.request.get("method", self.request.get("topic")))


class CallTable:
    """Holds calls until there is a connection, and their callers until there is an outcome.

    Their ids are texts: the numbers are those of the client's own requests.
    """

    def __init__(self) -> None:
        self._is_open = False
        self._is_closed = False
        self._next_id = 1
        self._waiting: deque[ClientCall] = deque()
        self._sent: dict[str, ClientCall] = {}
        """By id, until the reply: also those that nobody waits for, since the edge counts them."""

    @property
    def is_awaited(self) -> bool:
        """Whether a caller waits for a reply of the present connection."""
        return self._is_open and any(
            call.is_awaited for call in (*self._waiting, *self._sent.values())
        )

    def add(self, call: ClientCall) -> None:
        """Send `call` as soon as there is a connection."""
        if self._is_closed:
            call.end(NotSent("not_connected", f"the client is closed: {call.what} was not sent"))
        else:
            self._waiting.append(call)

    def give_up(self, call: ClientCall) -> RequestFailed:
        """The caller waits no longer; return the error of a call that has taken too long."""
        call.is_awaited = False
        within = f"within {call.timeout_s:g} s"
        if call.is_sent:
            return OutcomeUnknown("timeout", f"No answer to {call.what} {within}")
        if call in self._waiting:
            self._waiting.remove(call)
        return NotSent("not_connected", f"no connection {within}: {call.what} was not sent")

    def opened(self) -> None:
        """The edge has authenticated the client."""
        self._is_open = True

    def take(self, now: float) -> list[dict[str, Any]]:
        """Return the requests to send, in order. `now` is monotonic, in seconds."""
        requests = []
        while self._is_open and self._waiting and len(self._sent) < MAX_UNANSWERED:
            call = self._waiting.popleft()
            if call.deadline > now:
                requests.append(self._send(call, now))
        return requests

    def received(self, reply: Mapping[str, Any]) -> bool:
        """Act on a reply; return whether it is one to a call."""
        request_id = reply.get("id")
        call = self._sent.pop(request_id, None) if isinstance(request_id, str) else None
        if call is None:
            return False
        if reply["status"] != "error":
            call.end(reply)
            return True
        code, text = str(reply.get("code", "error")), str(reply.get("message", ""))
        unknown = OutcomeUnknown(code, text) if code == "timeout" else None
        call.end(unknown or refusal(code, text, call.request.get("topic")))
        return True

    def connection_lost(self) -> None:
        """End the calls that were sent. Nobody knows whether they were acted on."""
        self._is_open = False
        sent, self._sent = self._sent, {}
        for call in sent.values():
            text = f"the connection was lost: nobody knows whether {call.what} was acted on"
            call.end(OutcomeUnknown("connection_lost", text))

    def close(self) -> None:
        """The client is closed: nothing is sent any more."""
        self.connection_lost()
        self._is_closed = True
        waiting, self._waiting = self._waiting, deque()
        for call in waiting:
            self.add(call)

    def _send(self, call: ClientCall, now: float) -> dict[str, Any]:
        call.is_sent = True
        request_id = f"call-{self._next_id}"
        self._next_id += 1
        self._sent[request_id] = call
        request = {**call.request, "id": request_id}
        if request["action"] == "request":
            # The edge need not wait for longer than the caller does.
            request["timeout"] = call.deadline - now
        return request
