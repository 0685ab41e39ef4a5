"""The ways to publish one event, in one form. Clients publish as alice, whose role is `user`."""

import abc
from typing import Any

import msgpack
import zmq

from emitters import Emitter
from relay.wire.errors import WireError
from tests.conformance.told import Calling, CallRefused
from tests.support.cluster import Cluster

SUBSCRIPTION_TIMEOUT_MS = 20_000


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
