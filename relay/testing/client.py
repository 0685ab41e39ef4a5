"""A WebSocket client for tests: synchronous, with deadlines, one message at a time."""

import itertools
import json
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Self

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

Message = dict[str, Any]

TIMEOUT_S = 20.0


class EventClient:
    """Sends JSON to `/ws` and keeps every message that it receives."""

    def __init__(self, url: str, **options: Any) -> None:
        self._stack = ExitStack()
        self._socket = self._stack.enter_context(
            connect(url, open_timeout=TIMEOUT_S, close_timeout=1, proxy=None, **options)
        )
        self._ids = itertools.count(1)
        self.received: list[Message] = []
        """All messages so far, in the order of arrival."""

    def send(self, message: object) -> None:
        """Send `message` as JSON; send text and bytes unchanged.

        A map gets an `id`, unless it has one: so it is answered with all fields.
        """
        if isinstance(message, dict):
            message = {"id": f"auto-{next(self._ids)}", **message}
        raw = message if isinstance(message, str | bytes) else json.dumps(message)
        self._socket.send(raw)

    def send_as_text(self, payload: bytes) -> None:
        """Send `payload` in a text frame, whether or not it is UTF-8."""
        self._socket.send(payload, text=True)

    def receive(self, timeout: float = TIMEOUT_S) -> Message:
        """Return the next message."""
        message: Message = json.loads(self._socket.recv(timeout))
        self.received.append(message)
        return message

    def ask(self, message: object) -> Message:
        """Send `message` and return the reply, skipping events; without an `id` not asked for."""
        self.send(message)
        reply = self.receive_until(lambda reply: "status" in reply, f"a reply to {message!r}")
        is_asked_for = not isinstance(message, dict) or "id" in message
        return reply if is_asked_for else {k: v for k, v in reply.items() if k != "id"}

    def subscribe(self, topic: str) -> Message:
        """Subscribe and return the reply, which must be a success."""
        reply = self.ask({"action": "subscribe", "topic": topic})
        assert reply["status"] == "success", reply
        return reply

    def receive_until(
        self, condition: Callable[[Message], bool], what: str, timeout: float = TIMEOUT_S
    ) -> Message:
        """Return the first message from now on for which `condition` is true."""
        deadline = time.monotonic() + timeout
        while (remaining := deadline - time.monotonic()) > 0:
            try:
                message = self.receive(remaining)
            except TimeoutError:
                break
            if condition(message):
                return message
        raise AssertionError(f"{what}: not within {timeout} s; got {self.received[-5:]}")

    def receive_on(self, topic: str, timeout: float = TIMEOUT_S) -> Message:
        """Return the next message on `topic`."""
        return self.receive_until(
            lambda message: message.get("topic") == topic and "status" not in message,
            f"a message on {topic}",
            timeout,
        )

    def drain_until(self, marker: Callable[[], object]) -> list[Message]:
        """Call `marker`, which causes `event:marker`; return the messages before that event."""
        before = len(self.received)
        marker()
        self.receive_until(lambda message: message.get("topic") == "event:marker", "the marker")
        return self.received[before:-1]

    def wait_closed(self, timeout: float = TIMEOUT_S) -> tuple[int, str]:
        """Return code and reason of the server's close frame."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            try:
                self.receive(deadline - time.monotonic())
            except ConnectionClosed as closed:
                if closed.rcvd is None:
                    raise AssertionError("the connection was cut without a close frame") from None
                return closed.rcvd.code, closed.rcvd.reason
        raise AssertionError(f"the server did not close within {timeout} s")

    @property
    def local_port(self) -> int:
        """The port of this end of the connection."""
        return int(self._socket.local_address[1])

    @property
    def extensions(self) -> list[object]:
        """The WebSocket extensions that client and server negotiated."""
        return list(self._socket.protocol.extensions)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._stack.close()
