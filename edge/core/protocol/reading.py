"""The message of a client as an object, or the reply that it is none (protocol section 7)."""

from typing import Any, NamedTuple

from edge.core.protocol import replies
from edge.core.protocol.json_text import NestedTooDeep, parse_json

MAX_REQUEST_ID_CHARS = 255


class Unreadable(NamedTuple):
    """A message that is no object of JSON, or nested too deeply."""

    reason: str
    """For the counter: `invalid_json`, `no_object` or `too_deep`."""
    reply: bytes


def read_message(text: str, max_depth: int) -> dict[str, Any] | Unreadable:
    """Return the object in `text`, in which at most `max_depth` arrays and objects nest."""
    try:
        message = parse_json(text, max_depth)
    except NestedTooDeep as error:
        message = error.message
        request_id = message.get("id") if isinstance(message, dict) else None
        known_id = request_id if is_request_id(request_id) else None
        return Unreadable("too_deep", replies.too_deep(max_depth, known_id))
    except ValueError:
        return Unreadable("invalid_json", replies.invalid_json())
    if not isinstance(message, dict):
        return Unreadable("no_object", replies.bad_request("A JSON object is required."))
    return message


def is_request_id(value: object) -> bool:
    """Return whether a request may have `value` as its `id`; None stands for none."""
    if isinstance(value, str):
        return len(value) <= MAX_REQUEST_ID_CHARS
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))
