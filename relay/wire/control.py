"""Messages of the control socket, and what the relay itself says on the egress socket
(protocol section 4).

Control messages are msgpack maps. A request carries `op` and an `id`; its reply echoes the `id`.
The relay's own words on the egress socket have topics that start with `!`, which no kind may.
"""

from typing import Annotated, Any, Literal

import msgpack
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from relay.wire.errors import InvalidFrame
from relay.wire.header import EMITTER_ID_BYTES

PROTOCOL_VERSION = 1

MAX_CONTROL_BYTES = 1024 * 1024
"""For requests."""

MAX_PAGE_BYTES = 1024 * 1024
"""For the items of a reply, unless a single one is larger."""

HEARTBEAT_TOPIC = b"!heartbeat"
SYNC_PREFIX = b"!sync:"
"""A subscriber ends its subscriptions with `!sync:` and a nonce; when an event of that topic
comes back, every subscription made before it is in place. The body is that of a heartbeat."""
EXACT_PREFIX = b"!exact:"
WITHIN_PREFIX = b"!within:"
"""ZeroMQ knows only prefixes, so an edge says beside each live subscription what it means:
`!exact:` and a topic, or `!within:` and a prefix. Emitters read these to tell what is watched."""

Unsigned = Annotated[int, Field(ge=0, le=2**64 - 1)]


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class Hello(_Message):
    """The first request of every peer."""

    op: Literal["hello"] = "hello"
    id: Unsigned
    protocol: int = PROTOCOL_VERSION
    role: Literal["emitter", "edge", "tool"]
    name: Annotated[str, Field(max_length=255)]
    emitter_id: Annotated[
        bytes | None, Field(min_length=EMITTER_ID_BYTES, max_length=EMITTER_ID_BYTES)
    ] = None
    emitter_epoch: Unsigned | None = None


class Retained(_Message):
    """Ask for what the relay remembers: live topics' last values, or tasks' latest states.

    `prefix` limits the answer to topics that start with it, or with `exact` to that topic alone;
    `after` to topics that sort after it.
    """

    op: Literal["retained"] = "retained"
    id: Unsigned
    prefix: Annotated[str, Field(max_length=255)]
    exact: bool | None = None
    after: Annotated[bytes | None, Field(max_length=255)] = None


class Received(_Message):
    """Ask how far the relay has come with an emitter's events."""

    op: Literal["received"] = "received"
    id: Unsigned
    emitter_id: Annotated[bytes, Field(min_length=EMITTER_ID_BYTES, max_length=EMITTER_ID_BYTES)]


class Stats(_Message):
    """Ask for the relay's counters."""

    op: Literal["stats"] = "stats"
    id: Unsigned


Request = Hello | Received | Retained | Stats
_REQUEST: TypeAdapter[Request] = TypeAdapter(Annotated[Request, Field(discriminator="op")])


class HelloReply(_Message):
    """What a peer must know before it starts."""

    id: Unsigned
    status: Literal["success"] = "success"
    protocol: int = PROTOCOL_VERSION
    epoch: Unsigned
    journaled_kinds: tuple[str, ...]
    tips: dict[str, Unsigned]
    """Stream to the offset of its newest event."""
    heartbeat_s: float


class RetainedReply(_Message):
    """Each item is `(topic, stamp, envelope)`, the frames as they went out.

    When there is more, `next` is the `after` of the request that gets it.
    """

    id: Unsigned
    status: Literal["success"] = "success"
    items: tuple[tuple[bytes, bytes, bytes], ...]
    next: bytes | None = None


class ReceivedReply(_Message):
    """The last sequence number that arrived under the emitter's newest epoch, 0 for none."""

    id: Unsigned
    status: Literal["success"] = "success"
    sequence: Unsigned


class StatsReply(_Message):
    """The relay's counters, as `event-relay stats` prints them."""

    id: Unsigned
    status: Literal["success"] = "success"
    stats: dict[str, Any]


class ErrorReply(_Message):
    """A request that was refused; `id` is 0 when it could not be read."""

    id: Unsigned
    status: Literal["error"] = "error"
    code: Literal["bad_request", "unsupported_protocol"]
    message: str


Reply = HelloReply | ReceivedReply | RetainedReply | StatsReply | ErrorReply
_REPLIES: dict[type[Request], TypeAdapter[Any]] = {
    Hello: TypeAdapter(HelloReply | ErrorReply),
    Received: TypeAdapter(ReceivedReply | ErrorReply),
    Retained: TypeAdapter(RetainedReply | ErrorReply),
    Stats: TypeAdapter(StatsReply | ErrorReply),
}


class Heartbeat(_Message):
    """What the relay says every second on the egress socket."""

    tips: dict[str, Unsigned]


_HEARTBEAT = TypeAdapter(Heartbeat)


def pack_message(message: Request | Reply | Heartbeat) -> bytes:
    """Return the msgpack bytes of a control message or heartbeat."""
    packed: bytes = msgpack.packb(message.model_dump(exclude_none=True))
    return packed


def unpack_request(frame: bytes) -> Request:
    """Return the request in `frame`, or raise `InvalidFrame` naming the field."""
    if len(frame) > MAX_CONTROL_BYTES:
        raise InvalidFrame(f"a request has at most {MAX_CONTROL_BYTES} bytes")
    request: Request = _unpack(frame, _REQUEST)
    return request


def unpack_reply(frame: bytes, request: type[Request]) -> Reply:
    """Return the reply in `frame` to a request of type `request`, or raise `InvalidFrame`."""
    reply: Reply = _unpack(frame, _REPLIES[request])
    return reply


def reply_id(frame: bytes) -> int:
    """Return the `id` of the reply in `frame`, or raise `InvalidFrame`."""
    fields = _unpack_map(frame)
    value = fields.get("id")
    if type(value) is not int:
        raise InvalidFrame("a reply has an integer id")
    return value


def unpack_heartbeat(frame: bytes) -> Heartbeat:
    """Return the heartbeat in `frame`, or raise `InvalidFrame`."""
    heartbeat: Heartbeat = _unpack(frame, _HEARTBEAT)
    return heartbeat


def _unpack(frame: bytes, adapter: TypeAdapter[Any]) -> Any:
    try:
        return adapter.validate_python(_unpack_map(frame))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise InvalidFrame(f"{field or 'message'}: {first['msg']}") from None


def _unpack_map(frame: bytes) -> dict[Any, Any]:
    try:
        fields = msgpack.unpackb(frame, use_list=False)
    except (ValueError, TypeError, OverflowError, msgpack.UnpackException) as error:
        raise InvalidFrame(f"not msgpack ({error or type(error).__name__})") from None
    if not isinstance(fields, dict):
        raise InvalidFrame("a control message is a map")
    return fields
