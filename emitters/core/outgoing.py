"""What an emitter hands to the wire."""

from typing import NamedTuple

from relay.wire.topics import Topic


class Outgoing(NamedTuple):
    """An event that is ready for the wire."""

    topic: Topic
    envelope: bytes
