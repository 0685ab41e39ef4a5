"""The requests of clients, read from their messages and their handshake (protocol section 7)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from relay.wire.calls import MAX_TIMEOUT_S, is_method
from relay.wire.topics import PERSONAL_KINDS, Pattern, Topic

MAX_LAST = 1000
DEFAULT_TIMEOUT_S = 30.0
_MAX_OFFSET = 2**64 - 1


class InvalidRequest(Exception):  # noqa: N818
    """A message that is not understood; its text is the text of the reply."""


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Subscribe to `pattern`; with `since` or `last`, events of the past come first."""

    pattern: Pattern
    id: object = None
    since: Mapping[str, int] | None = None
    """Stream to the last offset that the client has."""
    epoch: int | None = None
    """The epoch that `since` belongs to."""
    last: int | None = None
    """The number of newest matching events to send."""

    @property
    def asks_for_the_past(self) -> bool:
        """Whether events of the past come before live events."""
        return self.since is not None or self.last is not None


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """Undo the subscription to `pattern`."""

    pattern: Pattern
    id: object = None


Request = Subscribe | Unsubscribe


@dataclass(frozen=True, slots=True)
class Publish:
    """Emit an event for everybody who may see it, or for one user."""

    topic: Topic
    data: Any
    type: str | None
    username: str | None
    id: object = None


@dataclass(frozen=True, slots=True)
class MethodCall:
    """Have a method answered, by the application or by a manager."""

    method: str
    params: Any
    """Any JSON value."""
    timeout_s: float
    id: object


@dataclass(frozen=True, slots=True)
class PersonalPosition:
    """The last personal events that a client has, from the query of its handshake."""

    epoch: int
    offsets: Mapping[str, int]
    """Stream to offset; one at least."""


def parse_subscribe(message: Mapping[str, Any], pattern: Pattern) -> Subscribe:
    """Return the subscribe request in `message`, or raise `InvalidRequest`."""
    since, last, epoch = message.get("since"), message.get("last"), message.get("epoch")
    if since is not None and last is not None:
        raise InvalidRequest("since and last exclude each other.")
    if since is not None:
        if not (isinstance(since, dict) and all(map(_is_offset, since.values()))):
            raise InvalidRequest("since must map streams to offsets.")
        if not _is_offset(epoch):
            # Without its epoch an offset may belong to a journal that no longer exists.
            raise InvalidRequest("since needs the epoch.")
    if last is not None and not (_is_offset(last) and 1 <= last <= MAX_LAST):
        raise InvalidRequest(f"last must be a number from 1 to {MAX_LAST}.")
    return Subscribe(pattern, message.get("id"), since, epoch if since is not None else None, last)


def parse_personal_position(query: Mapping[str, str]) -> PersonalPosition | None:
    """Return the position that `epoch`, `task` and `addressed` of a handshake's query name.

    None without an offset. Raises `InvalidRequest`.
    """
    epoch = query.get("epoch")
    offsets = {kind: query[kind] for kind in sorted(PERSONAL_KINDS) if kind in query}
    for value in (epoch, *offsets.values()):
        if value is not None and not is_offset_text(value):
            raise InvalidRequest("epoch, task and addressed must be numbers.")
    if not offsets:
        return None
    if epoch is None:
        raise InvalidRequest("task and addressed need the epoch.")
    return PersonalPosition(int(epoch), {kind: int(value) for kind, value in offsets.items()})


def parse_publish(message: Mapping[str, Any], topic: Topic) -> Publish:
    """Return the event in `message`, or raise `InvalidRequest`."""
    type_, username = message.get("type"), message.get("username")
    if "data" not in message:
        raise InvalidRequest("publish needs data.")
    for name, value in (("type", type_), ("username", username)):
        if value is not None and not (isinstance(value, str) and value):
            raise InvalidRequest(f"{name} must be text.")
    return Publish(topic, message["data"], type_, username, message.get("id"))


def parse_call(message: Mapping[str, Any]) -> MethodCall:
    """Return the call in `message`, or raise `InvalidRequest`."""
    method, timeout_s = message.get("method"), message.get("timeout", DEFAULT_TIMEOUT_S)
    if message.get("id") is None:
        raise InvalidRequest("request needs an id.")
    if not (isinstance(method, str) and is_method(method)):
        raise InvalidRequest("request needs a method.")
    # Not isinstance: `true` is an int in Python, and no number in JSON.
    if type(timeout_s) not in (int, float) or not 0 < timeout_s <= MAX_TIMEOUT_S:
        raise InvalidRequest(f"timeout must be a number of seconds up to {MAX_TIMEOUT_S:g}.")
    return MethodCall(method, message.get("params"), float(timeout_s), message["id"])


def _is_offset(value: object) -> bool:
    # Not isinstance: `true` is an int in Python, and no offset in JSON.
    return type(value) is int and 0 <= value <= _MAX_OFFSET


def is_offset_text(text: str) -> bool:
    """Return whether `text` is an offset or an epoch in digits."""
    # The length is checked first: int() of a text of many digits takes quadratic time.
    return text.isascii() and text.isdigit() and len(text) <= 20 and int(text) <= _MAX_OFFSET
