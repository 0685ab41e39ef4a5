"""`GET /api/events`: Server-Sent Events, read as a browser's EventSource reads them."""

import contextlib
import http.client
import json
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode, urlsplit

from tests.conformance.following import Following
from tests.conformance.told import Refused, Threaded, Wish

TIMEOUT_S = 60.0
RETRY_S = 0.1
CUT = 1006


class ServerSentEvents(Threaded):
    """Comes back with the last id after each end, whatever ended the stream."""

    def __init__(self, wish: Wish) -> None:
        self._following: Following | None = None
        self._last_id: str | None = None
        self._socket: socket.socket | None = None
        self._patterns = list(wish.patterns)
        """Those that are not refused: one that is refused ends the whole request."""
        self._replies = 0
        """Subscriptions that this stream has answered."""
        super().__init__(wish)

    def run(self) -> None:
        """See `Threaded`."""
        self._following = Following(self.wish.patterns, self.told)
        while not self.is_closing.is_set():
            with contextlib.suppress(OSError, http.client.HTTPException):
                self._serve()
            # The server has asked for a second or two: here nobody else comes back.
            self.is_closing.wait(RETRY_S)

    def interrupt(self) -> None:
        """See `Threaded`."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def _serve(self) -> None:
        """Read one stream to its end."""
        address = urlsplit(self.wish.url)
        assert address.hostname is not None
        query: list[tuple[str, Any]] = [("topic", each) for each in self._patterns]
        if self.wish.last is not None:
            query.append(("last", self.wish.last))
        headers = {"Authorization": f"Bearer {self.wish.token()}"}
        if self._last_id is not None:
            headers["Last-Event-ID"] = self._last_id
        connection = http.client.HTTPConnection(address.hostname, address.port, timeout=TIMEOUT_S)
        with contextlib.closing(connection):
            connection.connect()
            self._socket = connection.sock
            if self.is_closing.is_set():
                return
            connection.request("GET", f"/api/events?{urlencode(query)}", headers=headers)
            with connection.getresponse() as response:
                if response.status == 200:
                    self._read(response)
                elif response.status == 403:
                    self._refused(json.loads(response.read())["detail"])
                elif response.status < 500:
                    self.faults.append(f"status {response.status}: {response.read()!r}")

    def _refused(self, detail: str) -> None:
        """Go on without the topic that the answer names."""
        refused = next(each for each in self._patterns if f"'{each}'" in detail)
        self._patterns.remove(refused)
        self.told.append(Refused(refused, "forbidden"))

    def _read(self, response: http.client.HTTPResponse) -> None:
        self._replies = 0
        code = CUT
        try:
            for message in self._messages(response):
                if message.get("type") == "close":
                    code = message["code"]
                else:
                    self._take(message)
        finally:
            self.lost(code)

    def _messages(self, response: http.client.HTTPResponse) -> Iterator[dict[str, Any]]:
        """Yield the data of each event; note its id once it is complete, as an EventSource does."""
        data: list[str] = []
        event_id = self._last_id
        while line := response.readline().decode():
            if not line.endswith("\n"):
                return
            name, _, value = line.rstrip("\n").partition(": ")
            match name:
                case "data":
                    data.append(value)
                case "id":
                    event_id = value
                case "" if not value:
                    self._last_id = event_id
                    if data:
                        yield json.loads("\n".join(data))
                    data.clear()

    def _take(self, message: dict[str, Any]) -> None:
        self._report(message)
        self._replies += "status" in message
        if self._replies == len(self._patterns) and not self.is_live:
            self.live()

    def _report(self, message: dict[str, Any]) -> None:
        assert self._following is not None
        if message.get("status") == "error":
            self.told.append(Refused(self._patterns[message["id"]], message["code"]))
        else:
            self._following.take(message)
