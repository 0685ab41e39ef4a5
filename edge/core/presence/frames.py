"""The messages on `presence:` topics, as WebSocket text frames (protocol section 7)."""

from collections.abc import Iterator, Sequence
from typing import Any

from edge.core.presence.view import PresenceChange, PresenceCount, PresentUser
from edge.core.protocol.messages import frame
from relay.wire.topics import PRESENCE

MAX_PRESENT = 5_000
"""Users in one state; the number of further ones is in `more`."""
MAX_CHANGED = 1_000
"""Users in one change; further ones are in another that follows."""


def state(topic: str, users: Sequence[PresentUser], count: PresenceCount, now_ms: int) -> bytes:
    """Return the message that tells a new subscriber who is at `topic`. `now_ms` is Unix time."""
    data = {"present": [each._asdict() for each in users[:MAX_PRESENT]], **count._asdict()}
    if len(users) > MAX_PRESENT:
        data["more"] = len(users) - MAX_PRESENT
    return frame({**_fields(topic, data, now_ms), "retained": True})


def changes(change: PresenceChange, now_ms: int) -> Iterator[bytes]:
    """Yield the messages that tell who has joined and left. `now_ms` is Unix time."""
    longest = max(len(change.joined), len(change.left))
    for start in range(0, longest, MAX_CHANGED):
        part = slice(start, start + MAX_CHANGED)
        data = {
            "joined": [each._asdict() for each in change.joined[part]],
            "left": change.left[part],
            **change.totals._asdict(),
        }
        yield frame(_fields(change.topic, data, now_ms))


def _fields(topic: str, data: dict[str, Any], now_ms: int) -> dict[str, Any]:
    return {
        "type": PRESENCE,
        "topic": f"{PRESENCE}:{topic}",
        "data": data,
        "source": "",
        "emitted_at": now_ms,
    }
