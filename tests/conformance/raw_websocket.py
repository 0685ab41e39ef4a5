"""A bare WebSocket that resumes as docs/protocol.md says: the reference of the suite."""

import itertools
import json
import threading
import time
from typing import Any

from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import ClientConnection, connect

from edge.client.core.policy import renew_delay_s
from tests.conformance.following import Following, Message
from tests.conformance.told import PERSONAL, Calling, CallRefused, Refused, Threaded, Wish

REPLY_TIMEOUT_S = 20.0
RETRY_S = 0.1
POLL_S = 0.2


class RawWebSocket(Threaded, Calling):
    """Knows nothing but messages."""

    def __init__(self, wish: Wish) -> None:
        self._following: Following | None = None
        self._socket: ClientConnection | None = None
        self._ids = itertools.count(1)
        self._requested: dict[object, str] = {}
        """Patterns of unanswered subscriptions, by id."""
        self._renew_at = float("inf")
        self._replies: dict[object, Message] = {}
        self._has_reply = threading.Condition()
        super().__init__(wish)

    def run(self) -> None:
        """See `Threaded`."""
        self._following = Following(self.wish.patterns, self.told)
        while not self.is_closing.is_set():
            try:
                with connect(self._url(), proxy=None, close_timeout=1) as self._socket:
                    self._serve(self._socket)
            except ConnectionClosed as closed:
                self.lost(1006 if closed.rcvd is None else closed.rcvd.code)
            except (OSError, InvalidHandshake, EOFError):
                self.is_live = False
            self.is_closing.wait(RETRY_S)

    def interrupt(self) -> None:
        """See `Threaded`."""

    def publish(self, topic: str, data: Any, username: str | None = None) -> None:
        """See `Calling`."""
        more = {} if username is None else {"username": username}
        self._ask({"action": "publish", "topic": topic, "data": data, **more})

    def request(self, method: str, params: Any) -> Any:
        """See `Calling`."""
        return self._ask({"action": "request", "method": method, "params": params})["result"]

    def _url(self) -> str:
        """The address, with the position in the streams that need no subscription."""
        following = self._following
        assert following is not None
        known = [each for each in PERSONAL if each in following.position]
        since = "".join(f"&{each}={following.position[each]}" for each in known)
        return f"{self.wish.url}?epoch={following.epoch}{since}" if known else self.wish.url

    def _serve(self, socket: ClientConnection) -> None:
        self._requested.clear()
        self._renew_at = float("inf")
        self._say(socket, {"action": "authenticate", "token": self.wish.token(), "id": "in"})
        while not self.is_closing.is_set():
            try:
                message = json.loads(socket.recv(POLL_S))
            except TimeoutError:
                message = {}
            if "status" in message:
                self._replied(socket, message)
            else:
                self._take(message)
            if time.monotonic() >= self._renew_at:
                self._renew_at = float("inf")
                again = {"action": "authenticate", "token": self.wish.token(), "id": "again"}
                self._say(socket, again)

    def _take(self, message: Message) -> None:
        assert self._following is not None
        self._following.take(message)

    def _replied(self, socket: ClientConnection, reply: Message) -> None:
        request_id = reply["id"]
        if request_id in ("in", "again"):
            assert reply["status"] == "success", reply
            self._renew_at = time.monotonic() + renew_delay_s(reply["expires_in"])
            if request_id == "in":
                self._subscribe(socket)
        elif (pattern := self._requested.pop(request_id, None)) is not None:
            if reply["status"] == "error":
                self.told.append(Refused(pattern, reply["code"]))
            else:
                self._take(reply)
        else:
            with self._has_reply:
                self._replies[request_id] = reply
                self._has_reply.notify_all()
        if not self._requested and not self.is_live:
            self.live()

    def _subscribe(self, socket: ClientConnection) -> None:
        """Send all subscriptions as one catch-up, or as new ones with `last`."""
        following = self._following
        assert following is not None
        last = None if following.position else self.wish.last
        past: Message = {} if last is None else {"last": last}
        if following.position:
            past = {"since": dict(following.position), "epoch": following.epoch}
        refused = {each.pattern for each in self.told if isinstance(each, Refused)}
        patterns = [each for each in self.wish.patterns if each not in refused]
        for number, pattern in enumerate(patterns, 1):
            request_id = next(self._ids)
            self._requested[request_id] = pattern
            request = {"action": "subscribe", "topic": pattern, "id": request_id, **past}
            if "since" in past and number < len(patterns):
                request["more"] = True
            self._say(socket, request)

    def _ask(self, request: Message) -> Message:
        request_id = f"call-{next(self._ids)}"
        assert self._socket is not None
        self._say(self._socket, {**request, "id": request_id})
        with self._has_reply:
            assert self._has_reply.wait_for(lambda: request_id in self._replies, REPLY_TIMEOUT_S)
        reply = self._replies.pop(request_id)
        if reply["status"] == "error":
            raise CallRefused(reply["code"])
        return reply

    def _say(self, socket: ClientConnection, message: Message) -> None:
        socket.send(json.dumps(message))
