"""Messages of the control socket, and what the relay itself says on the egress socket
(protocol section 4).

Control messages are msgpack maps. A request carries `op` and an `id`; its reply echoes the `id`.
What the relay tells an emitter unasked is in `relay.wire.notices`. The relay's own words on the
egress socket have topics that start with `!`, which no kind may.
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

MAX_REPLAY_EVENTS = 4096
"""The most events that one reply to `replay` holds."""

Unsigned = Annotated[int, Field(ge=0, le=2**64 - 1)]
EmitterId = Annotated[bytes, Field(min_length=EMITTER_ID_BYTES, max_length=EMITTER_ID_BYTES)]


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class HelloRequest(_Message):
    """The first request of every peer, and an emitter's question where to go on.

    An emitter gives its id, its epoch, and `acknowledged`: the last sequence number of that epoch
    that it knows the relay to have. It sends what follows that number.
    """

    op: Literal["hello"] = "hello"
    id: Unsigned
    protocol: int = PROTOCOL_VERSION
    role: Literal["emitter", "edge", "tool"]
    name: Annotated[str, Field(max_length=255)]
    emitter_id: EmitterId | None = None
    emitter_epoch: Unsigned | None = None
    acknowledged: Unsigned | None = None


class RetainedRequest(_Message):
    """Ask for what the relay remembers: live topics' last values, or tasks' latest states.

    `prefix` limits the answer to topics that start with it, or with `exact` to that topic alone;
    `after` to topics that sort after it.
    """

    op: Literal["retained"] = "retained"
    id: Unsigned
    prefix: Annotated[str, Field(max_length=255)]
    exact: bool | None = None
    after: Annotated[bytes | None, Field(max_length=255)] = None


class ReplayRequest(_Message):
    """Ask for the journaled events of `stream` whose offsets follow `after`."""

    op: Literal["replay"] = "replay"
    id: Unsigned
    stream: Annotated[str, Field(max_length=255)]
    after: Unsigned
    limit: Annotated[int, Field(ge=1, le=MAX_REPLAY_EVENTS)] = MAX_REPLAY_EVENTS


class AccountRequest(_Message):
    """What an emitter did with the events it was given, since its epoch began.

    `counters` are named as in protocol section 9; each is the whole sum, not the difference.
    """

    op: Literal["account"] = "account"
    id: Unsigned
    emitter_id: EmitterId
    emitter_epoch: Unsigned
    counters: dict[str, Unsigned]


class StatsRequest(_Message):
    """Ask for the relay's counters."""

    op: Literal["stats"] = "stats"
    id: Unsigned


Request = AccountRequest | HelloRequest | ReplayRequest | RetainedRequest | StatsRequest
_REQUEST: TypeAdapter[Request] = TypeAdapter(Annotated[Request, Field(discriminator="op")])


class HelloReply(_Message):
    """What a peer must know before it starts."""

    id: Unsigned
    status: Literal["success"] = "success"
    protocol: int = PROTOCOL_VERSION
    epoch: Unsigned
    journaled_kinds: tuple[str, ...]
    tips: dict[str, Unsigned]
    """Stream to the offset of its newest event, 0 before the first."""
    heartbeat_s: float
    sequence: Unsigned | None = None
    """For emitters: the last sequence number that the relay has of this epoch."""


class RetainedReply(_Message):
    """Each item is `(topic, stamp, envelope)`, the frames as they went out.

    When there is more, `next` is the `after` of the request that gets it.
    """

    id: Unsigned
    status: Literal["success"] = "success"
    items: tuple[tuple[bytes, bytes, bytes], ...]
    next: bytes | None = None


class ReplayReply(_Message):
    """Each item is `(topic, stamp, envelope)`, the frames as they went out, offsets contiguous.

    They start after `after`, or at `low` if the journal no longer has what follows `after`. There
    may be fewer than `limit`, but at least one if there is any.
    """

    id: Unsigned
    status: Literal["success"] = "success"
    epoch: Unsigned
    items: tuple[tuple[bytes, bytes, bytes], ...]
    low: Unsigned
    """The first offset in the journal; `tip + 1` when it holds nothing of the stream."""
    tip: Unsigned


class AccountReply(_Message):
    """The account was taken down."""

    id: Unsigned
    status: Literal["success"] = "success"


class StatsReply(_Message):
    """The relay's counters, as `event-relay stats` prints them."""

    id: Unsigned
    status: Literal["success"] = "success"
    stats: dict[str, Any]


class ErrorReply(_Message):
    """A request that was refused; `id` is 0 when it could not be read."""

    id: Unsigned
    status: Literal["error"] = "error"
    code: Literal[
        "bad_request",
        "unsupported_protocol",
        "stale_epoch",
        "emitter_in_use",
        "unknown_stream",
        "journal_unavailable",
    ]
    message: str


Reply = AccountReply | HelloReply | ReplayReply | RetainedReply | StatsReply | ErrorReply
_REPLIES: dict[type[Request], TypeAdapter[Any]] = {
    AccountRequest: TypeAdapter(AccountReply | ErrorReply),
    HelloRequest: TypeAdapter(HelloReply | ErrorReply),
    ReplayRequest: TypeAdapter(ReplayReply | ErrorReply),
    RetainedRequest: TypeAdapter(RetainedReply | ErrorReply),
    StatsRequest: TypeAdapter(StatsReply | ErrorReply),
}


class Heartbeat(_Message):
    """What the relay says every second on the egress socket, and to whoever syncs."""

    tips: dict[str, Unsigned]
    """Stream to the offset of its newest event, 0 before the first."""
    low: dict[str, Unsigned]
    """Stream to the first offset in the journal; `tip + 1` when it holds nothing."""
    started_at: Unsigned
    """Unix time in milliseconds when this relay process started; another value means that it was
    restarted."""
    journaling: bool
    """False while the journal cannot be written, because the disk is full for instance."""


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
    fields = unpack_map(frame)
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
        return adapter.validate_python(unpack_map(frame))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise InvalidFrame(f"{field or 'message'}: {first['msg']}") from None


def unpack_map(frame: bytes) -> dict[Any, Any]:
    """Return the map in a message of the control socket, or raise `InvalidFrame`."""
    try:
        fields = msgpack.unpackb(frame, use_list=False)
    except (ValueError, TypeError, OverflowError, msgpack.UnpackException) as error:
        raise InvalidFrame(f"not msgpack ({error or type(error).__name__})") from None
    if not isinstance(fields, dict):
        raise InvalidFrame("a control message is a map")
    return fields
