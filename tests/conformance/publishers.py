"""The ways to publish one event, in one form. Clients publish as alice, whose role is `user`."""

import abc
import json
import urllib.error
import urllib.request
from typing import Any

import msgpack
import zmq

from emitters import Emitter
from relay.wire.errors import WireError
from tests.conformance.told import Calling, CallRefused
from tests.support.cluster import Cluster

SUBSCRIPTION_TIMEOUT_MS = 20_000
TIMEOUT_S = 20.0
CODES = {403: "forbidden", 422: "bad_request"}
"""HTTP status to the code of a reply on `/ws`."""


class Publisher(abc.ABC):
    """One way to publish."""

    has_role = True
    """Whether an edge judges what may be published."""
    is_answered = True
    """Whether a wrong event is refused to its sender."""

    @abc.abstractmethod
    def publish(self, topic: str, data: Any, username: str | None = None) -> None:
        """Publish an event, for one user if a name is given. Raises `CallRefused`."""

    @abc.abstractmethod
    def close(self) -> None:
        """End it."""


class ByEmitter(Publisher):
    """`emitters.Emitter`."""

    has_role = False

    def __init__(self, cluster: Cluster) -> None:
        self._emitter = Emitter(name="one", ingress=cluster.ingress, control=cluster.control)
        # Until then it takes the kinds of `relay.toml` for live: it has another environment.
        assert self._emitter.wait_connected(20)

    def publish(self, topic: str, data: Any, username: str | None = None) -> None:
        """See `Publisher`."""
        try:
            self._emitter.emit(topic, data, username=username)
        except WireError:
            raise CallRefused("bad_request") from None

    def close(self) -> None:
        """See `Publisher`."""
        self._emitter.close(0)


class ByPlainSocket(Publisher):
    """A PUB socket that knows nothing of this product; it tells when the relay has subscribed."""

    has_role = False
    is_answered = False

    def __init__(self, cluster: Cluster) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.XPUB)
        self._socket.setsockopt(zmq.RCVTIMEO, SUBSCRIPTION_TIMEOUT_MS)
        self._socket.connect(cluster.ingress)
        while not b"note:".startswith(self._socket.recv()[1:]):
            pass

    def publish(self, topic: str, data: Any, username: str | None = None) -> None:
        """See `Publisher`."""
        envelope = {"type": "event", "data": data}
        if username is not None:
            envelope["username"] = username
        packed: bytes = msgpack.packb(envelope)
        self._socket.send_multipart([topic.encode(), packed])

    def close(self) -> None:
        """See `Publisher`."""
        self._socket.close(0)
        self._context.term()


class ByClient(Publisher):
    """A client that can also watch."""

    def __init__(self, client: Calling) -> None:
        self._client = client

    def publish(self, topic: str, data: Any, username: str | None = None) -> None:
        """See `Publisher`."""
        self._client.publish(topic, data, username)

    def close(self) -> None:
        """See `Publisher`."""
        self._client.close()


class ByHttp(Publisher):
    """`POST /api/events`."""

    def __init__(self, url: str, token: str) -> None:
        """`url` is that of the edge."""
        self._url = f"{url}/api/events"
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def publish(self, topic: str, data: Any, username: str | None = None) -> None:
        """See `Publisher`."""
        event = {"topic": topic, "data": data}
        if username is not None:
            event["username"] = username
        body = json.dumps(event).encode()
        request = urllib.request.Request(self._url, body, self._headers)
        try:
            urllib.request.urlopen(request, timeout=TIMEOUT_S).close()
        except urllib.error.HTTPError as error:
            error.close()
            raise CallRefused(CODES[error.code]) from None

    def close(self) -> None:
        """See `Publisher`."""
