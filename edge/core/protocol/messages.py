"""The JSON messages that the edge sends unasked, as WebSocket text frames (protocol section 7)."""

from collections.abc import Mapping
from typing import Any, Literal

import orjson

from edge.core.websocket.frames import frame_payload, text_frame
from relay.wire.envelope import Envelope
from relay.wire.topics import ADDRESSED, Topic


def event(topic: Topic, offset: int, envelope: Envelope) -> bytes:
    """Return the message of an event, with `offset` unless that is 0: a live event has none.

    The offset is one of the stream that the topic's kind names, unless `stream` names another.
    """
    fields: dict[str, Any] = {
        "type": envelope.type,
        "topic": topic.shown,
        "data": envelope.data,
        "source": envelope.source,
        "emitted_at": envelope.emitted_at,
    }
    if offset:
        fields["offset"] = offset
    if topic.kind == ADDRESSED:
        fields["stream"] = ADDRESSED
    return frame(fields)


def frame(fields: Mapping[str, Any]) -> bytes:
    """Return the text frame of a JSON object."""
    return text_frame(orjson.dumps(fields))


def position(epoch: int, offsets: Mapping[str, int]) -> bytes:
    """Return the message that tells a client the offset of each stream up to which it has all.

    A client that has received no event for hours resumes from there instead of from its last event.
    """
    return frame({"type": "position", "epoch": epoch, "position": offsets})


GapReason = Literal["retention", "damaged"]
"""Retention has removed the events, or the relay cannot read them."""


def gap(stream: str, first: int, last: int, reason: GapReason = "retention") -> bytes:
    """Return the message that the events from `first` to `last` of `stream` are lost."""
    return frame({"type": "gap", "stream": stream, "from": first, "to": last, "reason": reason})


def retained(event_frame: bytes) -> bytes:
    """Return the same event marked `"retained":true`: a state, not something that happened now."""
    # The field is put in front of the last brace. Decoding and encoding the event again would cost
    # ten times as much, for every unfinished task of every client that connects.
    return text_frame(frame_payload(event_frame)[:-1] + b',"retained":true}')
