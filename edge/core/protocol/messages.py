"""The JSON messages the edge sends (protocol section 7), ready to be written to a socket."""

from collections.abc import Mapping
from typing import Any, Literal

import orjson

from edge.core.websocket.frames import frame_payload, text_frame
from relay.wire.envelope import Envelope

ErrorCode = Literal["bad_request", "unknown_action", "forbidden", "invalid_topic", "invalid_json"]


def event_fields(topic: str, offset: int, envelope: Envelope) -> dict[str, Any]:
    """Return an event as a JSON object, with `offset` unless that is 0: a live event has none."""
    fields: dict[str, Any] = {
        "type": envelope.type,
        "topic": topic,
        "data": envelope.data,
        "source": envelope.source,
        "emitted_at": envelope.emitted_at,
    }
    if offset:
        fields["offset"] = offset
    return fields


def frame(fields: Mapping[str, Any]) -> bytes:
    """Return the text frame of a JSON object."""
    return text_frame(orjson.dumps(fields))


def success(action: str, message: str, request_id: object = None, **fields: Any) -> bytes:
    """The reply to a request that was done."""
    return frame(
        {"status": "success", "message": message, "action": action, **fields, **_echo(request_id)}
    )


def error(code: ErrorCode, message: str, request_id: object = None, **fields: Any) -> bytes:
    """The reply to a request that was refused; the connection stays."""
    return frame(
        {"status": "error", "message": message, "code": code, **fields, **_echo(request_id)}
    )


def position(epoch: int, offsets: Mapping[str, int]) -> bytes:
    """Where each stream is, so that a quiet client resumes from nearby."""
    return frame({"type": "position", "epoch": epoch, "position": offsets})


def gap(stream: str, first: int, last: int) -> bytes:
    """The events from `first` to `last` of `stream` are lost: the journal no longer has them."""
    return frame(
        {"type": "gap", "stream": stream, "from": first, "to": last, "reason": "retention"}
    )


def retained(event_frame: bytes) -> bytes:
    """The same event, marked as a state that is shown and not as something that just happened."""
    # Keeping every task's state decoded, or a second frame of it, would cost more memory than this
    # costs time: `frame` has made the JSON, so it is known to end in a brace.
    return text_frame(frame_payload(event_frame)[:-1] + b',"retained":true}')


def _echo(request_id: object) -> dict[str, Any]:
    return {} if request_id is None else {"id": request_id}
