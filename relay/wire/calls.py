"""Calls: requests of clients that a manager process answers, passed on by the relay (section 4).

A process that answers registers its methods with `serve`, again and again. An edge sends `call`;
the relay passes it on as a notice, and the answer comes back as `result` and as a notice to the
edge. Nothing is sent again: a call reaches one process once or never.
"""

import re
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

import msgpack
from pydantic import Field

from relay.wire.control_message import ControlMessage, Unsigned
from relay.wire.errors import InvalidFrame

MAX_METHOD_CHARS = 64
MAX_METHODS = 256
"""Of one process."""
MAX_PARAMS_BYTES = 256 * 1024
MAX_RESULT_BYTES = 512 * 1024
MAX_MESSAGE_CHARS = 1_000
MAX_TIMEOUT_S = 3_600.0
LEASE_S = 5.0
"""Seconds for which a registration counts without being renewed."""

_METHOD = re.compile(rf"[a-z][a-z0-9_.-]{{0,{MAX_METHOD_CHARS - 1}}}\Z")

T = TypeVar("T")
Method = Annotated[str, Field(min_length=1, max_length=MAX_METHOD_CHARS)]


def is_method(text: str) -> bool:
    """Return whether `text` can be the name of a method."""
    return bool(_METHOD.match(text))


class ServeRequest(ControlMessage):
    """The sender answers calls of `methods`, and of no others, for `LEASE_S` seconds."""

    op: Literal["serve"] = "serve"
    id: Unsigned
    name: Annotated[str, Field(max_length=255)]
    methods: Annotated[tuple[Method, ...], Field(max_length=MAX_METHODS)]


class ServeReply(ControlMessage):
    """The methods are registered."""

    id: Unsigned
    status: Literal["success"] = "success"


class CallRequest(ControlMessage):
    """A user calls `method`, with `params` as msgpack."""

    op: Literal["call"] = "call"
    id: Unsigned
    method: Method
    params: Annotated[bytes, Field(max_length=MAX_PARAMS_BYTES)]
    username: Annotated[str, Field(max_length=1024)]
    role: Annotated[str, Field(max_length=1024)]
    timeout_s: Annotated[float, Field(gt=0, le=MAX_TIMEOUT_S)]


class CallReply(ControlMessage):
    """The call was passed on. Its result follows as a notice, with the same `id` as its `call`."""

    id: Unsigned
    status: Literal["success"] = "success"


class ResultRequest(ControlMessage):
    """The answer to a call that came as a notice: `result` as msgpack, or a `message`."""

    op: Literal["result"] = "result"
    id: Unsigned
    call: Unsigned
    result: Annotated[bytes | None, Field(max_length=MAX_RESULT_BYTES)] = None
    message: Annotated[str | None, Field(max_length=MAX_MESSAGE_CHARS)] = None


class ResultReply(ControlMessage):
    """The answer was passed on, or nobody waits for it any more."""

    id: Unsigned
    status: Literal["success"] = "success"


class CallNotice(NamedTuple):
    """A call, as the process that answers it gets it."""

    call: int
    method: str
    params: bytes
    username: str
    role: str
    timeout_s: float


class ResultNotice(NamedTuple):
    """The answer, as the edge gets it: `call` is the `id` of its request."""

    call: int
    result: bytes | None
    message: str | None


def pack_call_notice(notice: CallNotice | ResultNotice) -> bytes:
    """Return the msgpack bytes of a notice."""
    op = "call" if isinstance(notice, CallNotice) else "result"
    packed: bytes = msgpack.packb({"op": op, **notice._asdict()})
    return packed


def read_call_notice(fields: dict[Any, Any]) -> CallNotice | ResultNotice | None:
    """Return the notice in a message of the relay, None for a reply. Raises `InvalidFrame`."""
    if "id" in fields:
        return None
    op = fields.get("op")
    if op == "call":
        return CallNotice(
            _typed(fields, "call", int),
            _typed(fields, "method", str),
            _typed(fields, "params", bytes),
            _typed(fields, "username", str),
            _typed(fields, "role", str),
            _typed(fields, "timeout_s", float),
        )
    if op == "result":
        return ResultNotice(
            _typed(fields, "call", int),
            _typed(fields, "result", bytes) if fields.get("result") is not None else None,
            _typed(fields, "message", str) if fields.get("message") is not None else None,
        )
    raise InvalidFrame("a message without an id is a notice, and has a known op")


def _typed(fields: dict[Any, Any], name: str, kind: type[T]) -> T:
    value = fields.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise InvalidFrame(f"{name}: must be of type {kind.__name__}")
    return value
