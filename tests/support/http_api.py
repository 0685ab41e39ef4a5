"""The HTTP API of an edge: requests with JSON, and a client of event streams with deadlines."""

import email.message
import http.client
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

from tests.support.clients import Message
from tests.support.cluster import Cluster
from tests.support.relay_peer import RelayPeer
from tests.support.waiting import wait_for

TIMEOUT_S = 20.0


class Answer(NamedTuple):
    """The answer to a request."""

    status: int
    body: Any
    """JSON, or text if it is none."""
    headers: "email.message.Message[str, str]"


def request(
    url: str,
    token: str | None = None,
    data: object = None,
    method: str | None = None,
    **headers: str,
) -> Answer:
    """Send a request; `data` is sent as JSON, or as it is if it is bytes."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    if token is not None:
        names["Authorization"] = f"Bearer {token}"
    body = data if data is None or isinstance(data, bytes) else json.dumps(data).encode()
    if body is not None:
        names.setdefault("Content-Type", "application/json")
    sent = urllib.request.Request(url, body, names, method=method)
    try:
        with urllib.request.urlopen(sent, timeout=TIMEOUT_S) as response:
            return Answer(response.status, _parsed(response.read()), response.headers)
    except urllib.error.HTTPError as error:
        return Answer(error.code, _parsed(error.read()), error.headers)


def publish(url: str, token: str, data: object, **headers: str) -> Answer:
    """Publish at the edge whose routes are below `url`."""
    return request(f"{url}/api/events", token, data, **headers)


def history(url: str, token: str, stream: str, **query: object) -> Answer:
    """Read a page of a stream."""
    text = urllib.parse.urlencode(query)
    return request(f"{url}/api/streams/{stream}/events?{text}", token)


def whole_history(cluster: Cluster, url: str, token: str, stream: str, **query: object) -> Answer:
    """Read the page that ends at the relay's present tip.

    An event comes to an edge at about the time of its acknowledgement, before it or after it.
    """
    with RelayPeer(cluster.control) as relay:
        tip = relay.stats()["streams"][stream]["tip"]

    def page() -> Answer | None:
        answer = history(url, token, stream, **query)
        is_whole = answer.status == 200 and answer.body["next"].endswith(f":{stream}={tip}")
        return answer if is_whole else None

    whole = wait_for(page, f"the edge has the events of {stream} up to {tip}")
    assert whole is not None
    return whole


def _parsed(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return raw.decode(errors="replace")


class StreamEnded(Exception):  # noqa: N818
    """The response has ended."""


class StreamClient:
    """A client of `GET /api/events`, which keeps every message that it receives."""

    def __init__(
        self,
        url: str,
        topics: tuple[str, ...] = (),
        *,
        token: str | None = None,
        last_event_id: str | None = None,
        **query: object,
    ) -> None:
        """`url` is that below which the routes are. The response must be 200."""
        parts = urlsplit(url)
        assert parts.hostname is not None
        self._connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=TIMEOUT_S)
        pairs = [*(("topic", each) for each in topics), *query.items()]
        path = f"{parts.path}/api/events?{urllib.parse.urlencode(pairs)}"
        headers = {"Accept": "text/event-stream"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        if last_event_id is not None:
            headers["Last-Event-ID"] = last_event_id
        self._connection.request("GET", path, headers=headers)
        self.response = self._connection.getresponse()
        assert self.response.status == 200, self.response.read()
        self.received: list[Message] = []
        """The data of all events so far."""
        self.last_event_id = last_event_id
        self.retry_ms: int | None = None
        self.comments: list[str] = []

    def receive(self) -> Message:
        """Return the data of the next event. Raises `StreamEnded`."""
        name, data = "message", list[str]()
        while True:
            line = self._line()
            field, _, value = line.partition(": ")
            match field:
                case "" if line == "" and data:
                    message: Message = json.loads("\n".join(data))
                    assert (name == "close") == (message.get("type") == "close")
                    self.received.append(message)
                    return message
                case "" if line:
                    self.comments.append(value)
                case "data":
                    data.append(value)
                case "event":
                    name = value
                case "id":
                    self.last_event_id = value
                case "retry":
                    self.retry_ms = int(value)
                case _:
                    assert line == "", line

    def receive_until(self, condition: Callable[[Message], bool], what: str) -> Message:
        """Return the first message from now on for which `condition` is true."""
        deadline = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline:
            try:
                message = self.receive()
            except (TimeoutError, StreamEnded) as error:
                raise AssertionError(f"{what}: {error!r}; got {self.received[-5:]}") from None
            if condition(message):
                return message
        raise AssertionError(f"{what}: not in time; got {self.received[-5:]}")

    def receive_on(self, topic: str) -> Message:
        """Return the next event on `topic`."""
        return self.receive_until(
            lambda message: message.get("topic") == topic and "status" not in message,
            f"an event on {topic}",
        )

    def subscribed(self, count: int = 1) -> Self:
        """Read until `count` subscriptions are answered with success."""
        for _ in range(count):
            reply = self.receive_until(lambda message: "status" in message, "a reply")
            assert reply["status"] == "success", reply
        return self

    def wait_closed(self) -> tuple[int, str]:
        """Return code and reason of the last event, behind which the response ends."""
        last = self.receive_until(lambda message: message.get("type") == "close", "the end")
        try:
            self.receive()
        except StreamEnded:
            return last["code"], last["reason"]
        raise AssertionError("something follows the last event")

    def close(self) -> None:
        """Leave."""
        self.response.close()
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _line(self) -> str:
        try:
            line = self.response.readline()
        except (http.client.IncompleteRead, ConnectionError) as error:
            raise StreamEnded(repr(error)) from None
        if not line.endswith(b"\n"):
            raise StreamEnded("the end")
        return line[:-1].decode()
