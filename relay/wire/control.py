"""Requests and replies of the control socket, and heartbeats (protocol section 4).

Control messages are msgpack maps. A request carries `op` and an `id`; its reply echoes the `id`.
Messages of the relay that answer no request are in `relay.wire.notices`. On the egress socket the
relay's own topics start with `!`, which no kind may contain.
"""

from typing import Annotated, Any, Literal

import msgpack
from pydantic import Field, TypeAdapter, ValidationError

from relay.wire.calls import (
    CallReply,
    CallRequest,
    ResultReply,
    ResultRequest,
    ServeReply,
    ServeRequest,
)
from relay.wire.control_message import (
    MAX_PAGE_BYTES,
    MAX_PROOF_BYTES,
    ControlMessage,
    Unsigned,
)
from relay.wire.demand_messages import (
    DemandReply,
    DemandRequest,
    WatchedReply,
    WatchedRequest,
)
from relay.wire.errors import InvalidFrame
from relay.wire.header import EMITTER_ID_BYTES, MAX_OFFSET, StampedFrames

PROTOCOL_VERSION = 1

MAX_CONTROL_BYTES = 1024 * 1024
"""For a request."""
MAX_REQUEST_ITEMS = 1_024
"""For each map and array in a request: a large one takes many times the time of its bytes."""

HEARTBEAT_TOPIC = b"!heartbeat"
HEARTBEATS_UNTIL_LOST = 3
"""A relay that is silent for fewer intervals is not lost, whatever the listener's own timeout."""
SYNC_PREFIX = b"!sync:"
"""A subscriber subscribes to `!sync:` and a nonce last. When the relay publishes that topic, every
earlier subscription is in place. The body is a heartbeat."""

PROCESS_BYTES = 16

MAX_KEY_BYTES = 255 + 1 + 4 * 255
"""Of the place in a list of retained events: a topic and a user name."""
MAX_REPLAY_EVENTS = 4096
"""The most events that one reply to `replay` holds."""

Seconds = Annotated[float, Field(ge=0, le=3600)]
Offset = Annotated[int, Field(ge=0, le=MAX_OFFSET)]
PageBytes = Annotated[int, Field(ge=1, le=MAX_PAGE_BYTES)]


Proof = Annotated[bytes, Field(max_length=MAX_PROOF_BYTES)]
EmitterId = Annotated[bytes, Field(min_length=EMITTER_ID_BYTES, max_length=EMITTER_ID_BYTES)]


StreamName = Annotated[str, Field(max_length=255)]
Offsets = dict[StreamName, Offset]
"""Stream to an offset."""
Head = tuple[Offset, Unsigned | None]
"""An event that an edge has: offset, and `event_checksum` if it still holds the event."""


class HelloRequest(ControlMessage):
    """The first request of every peer; an emitter also asks from which event to go on.

    An emitter gives its id, its epoch, and `acknowledged`: the last sequence number of that epoch
    that was acknowledged to it. It still holds every event after that number.

    `epoch` is the relay's, as the peer knows it. By `acknowledged`, with its proof, and by `heads`
    the relay notices that its journal has lost events since: then it begins a new epoch.
    """

    op: Literal["hello"] = "hello"
    id: Unsigned
    protocol: int = PROTOCOL_VERSION
    role: Literal["emitter", "edge", "tool"]
    name: Annotated[str, Field(max_length=255)]
    emitter_id: EmitterId | None = None
    emitter_epoch: Unsigned | None = None
    """None while it has none: then the reply names the one that the relay hands out."""
    process: Annotated[bytes | None, Field(max_length=PROCESS_BYTES)] = None
    """A random number of the emitter's process. The same process is handed out the same epoch."""
    acknowledged: Unsigned | None = None
    proof: Proof | None = None
    """The relay's, with which it acknowledged that number; None if it gave none."""
    inherited: Unsigned | None = None
    """The last sequence number that was in the spool when this process opened it: the events up to
    it are of earlier processes, whose unfinished tasks nobody else will end."""
    epoch: Unsigned | None = None
    """Of an edge: the epoch that it follows. Of an emitter: that of the last acknowledgement."""
    heads: dict[StreamName, Head] | None = None
    """Of an edge: the last event of each stream that it has."""


class RetainedRequest(ControlMessage):
    """Asks for retained events: the last values of live topics and the latest states of tasks.

    `prefix` limits the reply to topics that start with it, or with `exact` to that topic alone.
    `after` is the `next` of the reply before, and `max_bytes` limits the reply to so many bytes of
    events, but at least one event.
    """

    op: Literal["retained"] = "retained"
    id: Unsigned
    prefix: Annotated[str, Field(max_length=255)]
    exact: bool | None = None
    after: Annotated[bytes | None, Field(max_length=MAX_KEY_BYTES)] = None
    max_bytes: PageBytes | None = None


class ReplayRequest(ControlMessage):
    """Asks for the events of `stream` with offsets above `after`, at most `limit`.

    `max_bytes` bounds the bytes of the events, but the reply has at least one event.
    """

    op: Literal["replay"] = "replay"
    id: Unsigned
    stream: StreamName
    after: Unsigned
    limit: Annotated[int, Field(ge=1, le=MAX_REPLAY_EVENTS)] = MAX_REPLAY_EVENTS
    max_bytes: PageBytes | None = None


class AccountRequest(ControlMessage):
    """Reports an emitter's counters since its epoch began.

    `counters` are named as in protocol section 9. Each is a total, not a difference.
    """

    op: Literal["account"] = "account"
    id: Unsigned
    emitter_id: EmitterId
    emitter_epoch: Unsigned
    counters: dict[str, Unsigned]


class StatsRequest(ControlMessage):
    """Asks for the relay's counters."""

    op: Literal["stats"] = "stats"
    id: Unsigned


Request = (
    AccountRequest
    | CallRequest
    | DemandRequest
    | HelloRequest
    | ReplayRequest
    | ResultRequest
    | RetainedRequest
    | ServeRequest
    | StatsRequest
    | WatchedRequest
)
_REQUEST: TypeAdapter[Request] = TypeAdapter(Annotated[Request, Field(discriminator="op")])


class HelloReply(ControlMessage):
    """The relay's epoch, streams and heartbeat interval."""

    id: Unsigned
    status: Literal["success"] = "success"
    protocol: int = PROTOCOL_VERSION
    epoch: Unsigned
    journaled_kinds: tuple[str, ...]
    tips: Offsets
    """Stream to its last offset, 0 before the first event."""
    heartbeat_s: float
    sequence: Unsigned | None = None
    """For emitters: the last sequence number of the epoch that the journal has."""
    proof: Proof | None = None
    """For emitters: the proof that this number is acknowledged."""
    emitter_epoch: Unsigned | None = None
    """For emitters without an epoch: theirs from now on."""
    drops: Unsigned | None = None
    """For emitters: differs from the previous reply if the relay has dropped events since, without
    asking for them. None while it takes no events, because its journal cannot be written."""
    publish: tuple[str, ...] | None = None
    """For emitters with a list of peers: the topics that they may publish."""
    sources: tuple[str, ...] | None = None
    users: tuple[str, ...] | None = None


class RetainedReply(ControlMessage):
    """A page of retained events, in the order of their topics.

    When further events match, `next` is the `after` of the request for the next page.
    """

    id: Unsigned
    status: Literal["success"] = "success"
    items: tuple[StampedFrames, ...]
    next: Annotated[bytes | None, Field(max_length=MAX_KEY_BYTES)] = None


class ReplayReply(ControlMessage):
    """A page of a stream, with contiguous offsets.

    It starts at `after + 1`, or at `low` if the journal no longer has that event. It may have fewer
    events than `limit`, but has at least one if any follows `after`.
    """

    id: Unsigned
    status: Literal["success"] = "success"
    epoch: Unsigned
    items: tuple[StampedFrames, ...]
    low: Offset
    """The stream's first offset in the journal; `tip + 1` when the journal has none."""
    tip: Offset
    """The stream's last offset."""


class AccountReply(ControlMessage):
    """The counters were noted."""

    id: Unsigned
    status: Literal["success"] = "success"


class StatsReply(ControlMessage):
    """The relay's counters, as `event-relay stats` prints them."""

    id: Unsigned
    status: Literal["success"] = "success"
    stats: dict[str, Any]


class ErrorReply(ControlMessage):
    """The request was refused; `id` is 0 when it could not be read."""

    id: Unsigned
    status: Literal["error"] = "error"
    code: Literal[
        "bad_request",
        "forbidden",
        "unsupported_protocol",
        "stale_epoch",
        "emitter_in_use",
        "unknown_stream",
        "unknown_method",
        "too_many_calls",
        "journal_unavailable",
    ]
    message: str


Reply = (
    AccountReply
    | CallReply
    | DemandReply
    | HelloReply
    | ReplayReply
    | ResultReply
    | RetainedReply
    | ServeReply
    | StatsReply
    | WatchedReply
    | ErrorReply
)
_REPLIES: dict[type[Request], TypeAdapter[Any]] = {
    AccountRequest: TypeAdapter(AccountReply | ErrorReply),
    CallRequest: TypeAdapter(CallReply | ErrorReply),
    DemandRequest: TypeAdapter(DemandReply | ErrorReply),
    HelloRequest: TypeAdapter(HelloReply | ErrorReply),
    ReplayRequest: TypeAdapter(ReplayReply | ErrorReply),
    ResultRequest: TypeAdapter(ResultReply | ErrorReply),
    RetainedRequest: TypeAdapter(RetainedReply | ErrorReply),
    ServeRequest: TypeAdapter(ServeReply | ErrorReply),
    StatsRequest: TypeAdapter(StatsReply | ErrorReply),
    WatchedRequest: TypeAdapter(WatchedReply | ErrorReply),
}


class Heartbeat(ControlMessage):
    """The state of the streams: published every second, and as the answer to a sync nonce."""

    tips: Offsets
    """Stream to its last offset, 0 before the first event."""
    low: Offsets
    """Stream to its first offset in the journal; `tips` + 1 when the journal has no event of it."""
    started_at: Unsigned
    """Unix time in milliseconds when this relay process started. It differs after a restart."""
    journaling: bool
    """False while the journal cannot be written, for example because the disk is full."""
    previous: Unsigned | None = None
    """The epoch that the present one continues, None if there was none before."""
    began: Offsets | None = None
    """With `previous`: stream to the last offset that both epochs share."""
    start: Offsets | None = None
    """Stream to its last offset when this relay process started, or opened its journal anew."""
    damaged: Unsigned | None = None
    """How many events of the journal could not be read since the relay started, None if all."""
    heartbeat_s: Seconds | None = None
    """The interval of heartbeats. A relay counts as lost after `HEARTBEATS_UNTIL_LOST` of them."""


_HEARTBEAT = TypeAdapter(Heartbeat)


def pack_message(message: Request | Reply | Heartbeat) -> bytes:
    """Return the msgpack bytes of a control message or heartbeat."""
    packed: bytes = msgpack.packb(message.model_dump(exclude_none=True))
    return packed


def unpack_request(frame: bytes) -> Request:
    """Return the request in `frame`. Raises `InvalidFrame`, whose text names the field."""
    if len(frame) > MAX_CONTROL_BYTES:
        raise InvalidFrame(f"a request has at most {MAX_CONTROL_BYTES} bytes")
    limit = MAX_REQUEST_ITEMS
    request: Request = _validated(unpack_map(frame, max_items=limit), _REQUEST)
    return request


def unpack_reply(frame: bytes, request: type[Request]) -> Reply:
    """Return the reply in `frame` to a request of type `request`. Raises `InvalidFrame`."""
    reply: Reply = _validated(unpack_map(frame), _REPLIES[request])
    return reply


def reply_id(frame: bytes) -> int:
    """Return the `id` of the reply in `frame`. Raises `InvalidFrame`."""
    fields = unpack_map(frame)
    value = fields.get("id")
    # Not `isinstance`: True is an instance of int.
    if type(value) is not int:
        raise InvalidFrame("a reply has an integer id")
    return value


def unpack_heartbeat(frame: bytes) -> Heartbeat:
    """Return the heartbeat in `frame`. Raises `InvalidFrame`."""
    heartbeat: Heartbeat = _validated(unpack_map(frame), _HEARTBEAT)
    return heartbeat


def _validated(fields: dict[Any, Any], adapter: TypeAdapter[Any]) -> Any:
    try:
        return adapter.validate_python(fields)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise InvalidFrame(f"{field or 'message'}: {first['msg']}") from None


def unpack_map(frame: bytes, max_items: int = MAX_CONTROL_BYTES) -> dict[Any, Any]:
    """Return the map in a message of the control socket. Raises `InvalidFrame`.

    No map and no array in it has more than `max_items` items.
    """
    try:
        # As tuples: strict models take no list for a tuple, and keys must be hashable.
        fields = msgpack.unpackb(
            frame, use_list=False, max_array_len=max_items, max_map_len=max_items
        )
    except (ValueError, TypeError, OverflowError, msgpack.UnpackException) as error:
        raise InvalidFrame(f"not msgpack ({error or type(error).__name__})") from None
    if not isinstance(fields, dict):
        raise InvalidFrame("a control message is a map")
    return fields
