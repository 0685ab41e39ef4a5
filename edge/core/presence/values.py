"""The values that workers publish of their members, and their reading (protocol section 6)."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from relay.wire.envelope import MAX_SAFE_INT
from relay.wire.errors import InvalidEnvelope

BUCKETS = 64
"""Of each worker. A change is published with its bucket; fewer would make the messages larger."""
MAX_WORKER_CHARS = 64
"""In a name. The topics of all its values are asked for by a prefix, which has 255 at most."""
MAX_CONNECTIONS = 2**31 - 1
"""Of a seat, so that JSON can carry the sum of all."""
_BUCKET_DIGITS = len(str(BUCKETS - 1))


class Seat(NamedTuple):
    """A user's place at one topic, on one worker or on several."""

    since: int
    """Unix time in milliseconds: when the earliest of the connections subscribed."""
    connections: int


Members = dict[tuple[str, str], Seat]
"""Seats by topic and user name."""


class StateName(NamedTuple):
    """The name in the topic of a value."""

    worker: str
    bucket: int | None
    """None for a beat."""

    def __str__(self) -> str:
        return self.worker if self.bucket is None else f"{self.worker}:{self.bucket}"


def read_name(text: str) -> StateName:
    """Return the name `text`. Raises `InvalidEnvelope`."""
    worker, colon, bucket = text.partition(":")
    if len(worker) > MAX_WORKER_CHARS:
        raise InvalidEnvelope("topic", f"names a worker of over {MAX_WORKER_CHARS} characters")
    if not colon:
        return StateName(worker, None)
    is_number = bucket.isascii() and bucket.isdecimal() and len(bucket) <= _BUCKET_DIGITS
    if not (is_number and int(bucket) < BUCKETS):
        raise InvalidEnvelope("topic", f"names no bucket from 0 to {BUCKETS - 1}")
    return StateName(worker, int(bucket))


def beat_value(versions: Mapping[int, int] | None) -> dict[str, Any]:
    """Return the beat of a worker: the version of each bucket with members; None at its end."""
    return {"versions": None if versions is None else {str(k): v for k, v in versions.items()}}


def read_beat(value: Any) -> dict[int, int] | None:
    """Undo `beat_value`. Raises `InvalidEnvelope`."""
    versions = _field(value, "versions")
    if versions is None:
        return None
    read: dict[int, int] = {}
    for bucket, version in _map(versions, "versions").items():
        number = read_name(f":{bucket}").bucket
        assert number is not None
        read[number] = _count(version, "versions")
    return read


def bucket_value(version: int, members: Members) -> dict[str, Any]:
    """Return the value of a bucket, by topic and then by user: `since` and `connections`."""
    topics: dict[str, dict[str, list[int]]] = {}
    for (topic, username), seat in members.items():
        topics.setdefault(topic, {})[username] = list(seat)
    return {"version": version, "members": topics}


def read_bucket(value: Any) -> tuple[int, Members]:
    """Undo `bucket_value`. Raises `InvalidEnvelope`."""
    version = _count(_field(value, "version"), "version")
    members: Members = {}
    for topic, users in _map(_field(value, "members"), "members").items():
        for username, seat in _map(users, "members").items():
            if not isinstance(seat, list) or len(seat) != 2:
                raise InvalidEnvelope("data.members", "a seat is since and connections")
            since, connections = seat
            members[topic, username] = Seat(
                _count(since, "members"), _count(connections, "members", MAX_CONNECTIONS)
            )
    return version, members


def _field(value: Any, name: str) -> Any:
    try:
        return _map(value, name)[name]
    except KeyError:
        raise InvalidEnvelope(f"data.{name}", "is missing") from None


def _map(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidEnvelope(f"data.{name}", "must be a map")
    return value


def _count(value: Any, name: str, most: int = MAX_SAFE_INT) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise InvalidEnvelope(f"data.{name}", f"must be an integer from 1 to {most}")
    return value
