"""Positions as text: of an event stream (SSE), and of a page of history (docs/http.md).

The text is opaque to clients: the epoch, and the last offset of each stream that they have.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from edge.core.protocol.requests import InvalidRequest, is_offset_text
from relay.wire.topics import PERSONAL_KINDS, is_kind

MAX_STREAMS = 256


class Position(NamedTuple):
    """The last events that a client has, by stream, and the epoch of their offsets."""

    epoch: int
    offsets: Mapping[str, int]

    def __str__(self) -> str:
        parts = ",".join(f"{stream}={offset}" for stream, offset in sorted(self.offsets.items()))
        return f"{self.epoch}:{parts}"

    @property
    def personal(self) -> dict[str, int]:
        """The offsets of the streams that reach their user without a subscription."""
        return {each: at for each, at in self.offsets.items() if each in PERSONAL_KINDS}


def parse_position(text: str, name: str) -> Position:
    """Return the position that `text` stands for. Raises `InvalidRequest`, which names `name`."""
    epoch, colon, rest = text.partition(":")
    parts = list(_parts(rest))
    if not (colon and is_offset_text(epoch)) or len(parts) > MAX_STREAMS:
        raise InvalidRequest(f"{name} is not a position of this edge.")
    for stream, offset in parts:
        if not (is_kind(stream) and is_offset_text(offset)):
            raise InvalidRequest(f"{name} is not a position of this edge.")
    return Position(int(epoch), {stream: int(offset) for stream, offset in parts})


def _parts(text: str) -> Iterator[tuple[str, str]]:
    for part in text.split(",") if text else ():
        stream, _, offset = part.partition("=")
        yield stream, offset


class FollowedPosition:
    """The position of a client, followed through the messages that it is sent.

    It is unknown until all subscriptions are answered, unless the client has brought one: with
    another one it would miss events that are still to come.
    """

    def __init__(self, since: Position | None, subscriptions: int) -> None:
        """The client is about to get `subscriptions` replies."""
        self._epoch = 0 if since is None else since.epoch
        self._offsets = {} if since is None else dict(since.offsets)
        self._has_brought = since is not None
        self._unanswered = subscriptions
        self._told = ""

    def take(self, message: Mapping[str, Any]) -> str | None:
        """Take a message; return the client's position after it if that is news."""
        match message:
            case {"type": "position", "epoch": epoch, "position": position}:
                self._raise_all(epoch, position)
            case {"action": "subscribe", "epoch": epoch, "position": position}:
                self._unanswered -= 1
                self._raise_all(epoch, position)
            case {"status": "error", "id": _}:
                self._unanswered -= 1
            case {"type": "gap", "stream": stream, "to": last}:
                self._raise(stream, last)
            case {"offset": offset, "topic": topic} if "retained" not in message:
                self._raise(message.get("stream") or topic.partition(":")[0], offset)
        return self._news()

    def _news(self) -> str | None:
        if self._unanswered > 0 and not self._has_brought:
            return None
        text = str(Position(self._epoch, self._offsets))
        if text == self._told:
            return None
        self._told = text
        return text

    def _raise_all(self, epoch: int, offsets: Mapping[str, int]) -> None:
        if epoch != self._epoch:
            # Offsets of the epoch before mean nothing, and so does a position that was brought.
            self._epoch = epoch
            self._offsets = {}
            self._has_brought = False
        for stream, offset in offsets.items():
            self._raise(stream, offset)

    def _raise(self, stream: str, offset: int) -> None:
        self._offsets[stream] = max(offset, self._offsets.get(stream, 0))
