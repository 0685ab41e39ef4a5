"""The replies to client messages, ready to be written to a socket (protocol section 7).

A request with an `id` gets the full reply. One without gets `status` and `message` alone, as the
Bedrock Server Manager answers: its front ends take any message with a `topic` for an event.

Every reply is built here. `Session` decides about messages that are malformed, unknown or have a
wrong topic; `requests.py` has the texts about malformed `since` and `last`. `Subscriptions` decides
about subscriptions.
"""

from collections.abc import Mapping
from typing import Any, Literal

from edge.core.identity.access import NEVER, Identity
from edge.core.protocol.messages import frame
from relay.wire.topics import Pattern, Topic

MAX_SHOWN_CHARS = 300
ErrorCode = Literal[
    "bad_request",
    "unknown_action",
    "forbidden",
    "invalid_topic",
    "invalid_json",
    "too_many_subscriptions",
    "too_many_requests",
    "unknown_method",
    "timeout",
    "failed",
    "unavailable",
]


def authenticated(identity: Identity, unix_now: float, request_id: object) -> bytes:
    """The token is valid. The reply tells until when, also as a duration: clocks differ.

    It tells neither for a user whose sign-in does not expire.
    """
    until = identity.expires_at
    expiry = {} if until == NEVER else {"expires_at": until, "expires_in": int(until - unix_now)}
    return success(
        "authenticate",
        "Authenticated successfully",
        request_id,
        username=identity.username,
        **expiry,
    )


def subscribed(
    pattern: Pattern,
    request_id: object,
    epoch: int,
    position: Mapping[str, int],
    recovered: bool | None,
) -> bytes:
    """The subscription is live, from `position` on.

    `recovered` says whether every missed event was sent, None if the client did not ask for them.
    """
    asked = {} if recovered is None else {"recovered": recovered}
    return success(
        "subscribe",
        f"Subscribed to topic '{pattern}'",
        request_id,
        topic=str(pattern),
        epoch=epoch,
        position=position,
        **asked,
    )


def unsubscribed(pattern: Pattern, request_id: object) -> bytes:
    """The subscription has ended, if there was one."""
    text = f"Unsubscribed from topic '{pattern}'"
    return success("unsubscribe", text, request_id, topic=str(pattern))


def bad_request(text: str, request_id: object = None) -> bytes:
    """The message is not understood."""
    return error("bad_request", text, request_id)


def invalid_id() -> bytes:
    """The request has an `id` that cannot be echoed."""
    return unasked_error("bad_request", "An id is text or a number.")


def invalid_json() -> bytes:
    """The message is not JSON, so that nothing in it can be echoed."""
    return error("invalid_json", "Invalid JSON.")


def too_deep(limit: int, request_id: object) -> bytes:
    """The message is JSON of more than `limit` arrays and objects in each other."""
    return bad_request(f"JSON may be nested at most {limit} levels deep.", request_id)


def unknown_action(action: str, request_id: object) -> bytes:
    """The client asks for an action that does not exist."""
    return error("unknown_action", f"Unknown action: '{_shown(action)}'", request_id)


def invalid_topic(topic: str, request_id: object) -> bytes:
    """The topic is neither a topic nor a prefix that ends in `*`."""
    return error("invalid_topic", f"Invalid topic: '{_shown(topic)}'", request_id)


def forbidden(pattern: Pattern, reason: str, request_id: object) -> bytes:
    """The user may not have the subscription; `reason` may be ""."""
    return error("forbidden", _not_allowed(pattern, reason), request_id)


def no_longer_allowed(pattern: Pattern, reason: str) -> bytes:
    """A new role or rule ends a live subscription. It answers no request, so it names the topic."""
    return unasked_error("forbidden", _not_allowed(pattern, reason), topic=str(pattern))


def too_many_subscriptions(limit: int, request_id: object) -> bytes:
    """The client has `limit` subscriptions."""
    return bad_request(f"At most {limit} subscriptions are allowed.", request_id)


def no_room(text: str, request_id: object) -> bytes:
    """The subscription would pass a bound of the user or of this edge."""
    return error("too_many_subscriptions", text, request_id)


def may_not_publish(topic: Topic, request_id: object) -> bytes:
    """Neither the application nor the client's role allows the event."""
    return error("forbidden", f"Not allowed to publish on topic '{topic.shown}'", request_id)


def may_not_call(method: str, request_id: object) -> bytes:
    """The client's role does not allow the call."""
    return error("forbidden", f"Not allowed to call '{method}'", request_id)


def published(topic: Topic, event_id: str | None, data: object, request_id: object) -> bytes:
    """The event was taken: by the relay's emitter, with an id, or by the application."""
    text = f"Published on topic '{topic.shown}'"
    own = {"event_id": event_id} if event_id is not None else {"result": data}
    return success("publish", text, request_id, topic=topic.shown, **own)


def called(method: str, result: object, request_id: object) -> bytes:
    """The method was answered."""
    return success("request", f"Answered '{method}'", request_id, method=method, result=result)


def failed(code: ErrorCode, message: str, request_id: object) -> bytes:
    """The request was allowed, and has no result."""
    return error(code, message, request_id)


def too_many_requests(limit: int, request_id: object) -> bytes:
    """The client has `limit` requests without an answer."""
    return error("too_many_requests", f"{limit} requests wait for an answer already.", request_id)


def too_many_requests_of_user(limit: int, request_id: object) -> bytes:
    """All connections of the user together have `limit` requests without an answer."""
    text = f"{limit} requests of this user wait for an answer already."
    return error("too_many_requests", text, request_id)


def success(action: str, message: str, request_id: object = None, **fields: Any) -> bytes:
    """The reply to a request that was performed."""
    return _reply("success", message, request_id, {"action": action, **fields})


def error(code: ErrorCode, message: str, request_id: object = None) -> bytes:
    """The reply to a request that was refused; the connection stays open."""
    return _reply("error", message, request_id, {"code": code})


def unasked_error(code: ErrorCode, message: str, **fields: Any) -> bytes:
    """An error that answers no request, or one whose `id` cannot be echoed."""
    return frame({"status": "error", "message": message, "code": code, **fields})


def _reply(status: str, message: str, request_id: object, fields: Mapping[str, Any]) -> bytes:
    reply: dict[str, Any] = {"status": status, "message": message}
    return frame(reply if request_id is None else {**reply, **fields, "id": request_id})


def _not_allowed(pattern: Pattern, reason: str) -> str:
    text = f"Not allowed to subscribe to topic '{pattern}'"
    return f"{text}: {reason}" if reason else text


def _shown(text: str) -> str:
    """Return the client's own words for an error message, at a bounded length."""
    return text if len(text) <= MAX_SHOWN_CHARS else f"{text[:MAX_SHOWN_CHARS]}…"
