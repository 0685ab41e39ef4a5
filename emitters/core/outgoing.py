"""An event between `emit` and the wire."""

from typing import NamedTuple

from relay.wire.topics import Topic


class Outgoing(NamedTuple):
    """An event that is checked and packed."""

    topic: Topic
    envelope: bytes
