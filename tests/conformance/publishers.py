"""The ways to publish one event, in one form."""

import abc
from collections.abc import Callable
from typing import Any

import zmq

from emitters import Emitter
from relay.wire.envelope import pack_envelope
from tests.conformance.told import Calling, CallRefused

Publish = Callable[[str, Any, str | None], None]


class Publisher(abc.ABC):
    """Publishes as the user `alice` with the role `user`, or without any user."""

    has_role = True
    """Whether the edge judges what it publishes by a role."""

    @abc.abstractmethod
    def publish(self, topic: str, data: Any, username: str | None = None) -> None:
        """Publish an event, for one user if a name is given. Raises `CallRefused`."""

    @abc.abstractmethod
    def close(self) -> None:
        """End it."""
