"""`AppManager`: sending with the names of a connection manager, for an application that had one.

Messages go through the relay, so that they reach clients on every worker and come again to those
who resume.
"""

from collections.abc import Callable, Mapping
from typing import Any

from edge.host.connection import ClientConnection
from edge.host.publisher import Publisher

NOTICE = "notice"
"""The topic of a message for a user that names none."""


class AppManager:
    """`send_to_client`, `broadcast_to_topic` and `send_to_user`, as `Edge.manager`.

    A message is a map with `data`, and perhaps `type` and `topic`. Other fields go nowhere: an
    event has its own.
    """

    def __init__(
        self, publisher: Publisher, client: Callable[[str], ClientConnection | None]
    ) -> None:
        """`client` returns the open connection of this worker with an id, None if there is none."""
        self._publisher = publisher
        self._client = client

    async def send_to_client(self, client_id: str, message: Any) -> bool:
        """Send any JSON value to the connection with the id `client_id` on this worker.

        Returns whether it is there. It is not kept for a resume.
        """
        client = self._client(client_id)
        if client is None or client.is_closed:
            return False
        client.send(message)
        return True

    async def broadcast_to_topic(self, topic: str, message: Mapping[str, Any]) -> str:
        """Emit `message` to everybody who is subscribed to `topic`; return the event's id.

        Raises what `Emitter.emit` raises, and `KeyError` for a message without `data`.
        """
        return await self._publisher.emit(topic, message["data"], type=message.get("type"))

    async def send_to_user(self, username: str, message: Mapping[str, Any]) -> str:
        """Emit `message` to all connections of one user and nobody else; return the event's id.

        Raises what `Emitter.emit` raises, and `KeyError` for a message without `data`.
        """
        topic = message.get("topic", NOTICE)
        return await self._publisher.emit(
            topic, message["data"], type=message.get("type"), username=username
        )
