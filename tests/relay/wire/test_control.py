"""Control messages and heartbeats: the vectors, round trips, and any bytes at all."""

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.wire.calls import (
    CallReply,
    CallRequest,
    ResultReply,
    ResultRequest,
    ServeReply,
    ServeRequest,
)
from relay.wire.control import (
    MAX_CONTROL_BYTES,
    MAX_KEY_BYTES,
    MAX_REPLAY_EVENTS,
    AccountReply,
    AccountRequest,
    ErrorReply,
    Heartbeat,
    HelloReply,
    HelloRequest,
    ReplayReply,
    ReplayRequest,
    Reply,
    Request,
    RetainedReply,
    RetainedRequest,
    StatsReply,
    StatsRequest,
    pack_message,
    reply_id,
    unpack_heartbeat,
    unpack_reply,
    unpack_request,
)
from relay.wire.control_message import MAX_PROOF_BYTES
from relay.wire.demand import pack_digests
from relay.wire.demand_messages import DemandReply, DemandRequest, WatchedReply, WatchedRequest
from relay.wire.errors import InvalidFrame, WireError
from relay.wire.header import MAX_OFFSET
from tests.relay.wire.strategies import frames_like, payloads, utf8_text
from tests.relay.wire.vectors import case_name, vectors

VECTORS = vectors("control")
REQUESTS: dict[str, type[Request]] = {
    "account": AccountRequest,
    "demand": DemandRequest,
    "call": CallRequest,
    "hello": HelloRequest,
    "replay": ReplayRequest,
    "result": ResultRequest,
    "retained": RetainedRequest,
    "serve": ServeRequest,
    "stats": StatsRequest,
    "watched": WatchedRequest,
}
REPLIES: dict[str, type[Reply]] = {
    "account": AccountReply,
    "demand": DemandReply,
    "call": CallReply,
    "hello": HelloReply,
    "replay": ReplayReply,
    "result": ResultReply,
    "retained": RetainedReply,
    "serve": ServeReply,
    "stats": StatsReply,
    "watched": WatchedReply,
}
near_messages = frames_like(
    *(msgpack.unpackb(bytes.fromhex(case["hex"])) for case in VECTORS["requests"]),
    *(msgpack.unpackb(bytes.fromhex(case["hex"])) for case in VECTORS["replies"]),
    *(msgpack.unpackb(bytes.fromhex(case["hex"])) for case in VECTORS["heartbeats"]),
)
BINARY = ("emitter_id", "proof", "edge", "watch", "unwatch", "params", "result")
"""Fields that the vectors hold in hexadecimal."""
unsigned = st.integers(0, 2**64 - 1)
digests = st.lists(unsigned, max_size=3).map(pack_digests)
short_text = st.text(st.characters(codec="utf-8"), max_size=255)
emitter_ids = st.binary(min_size=16, max_size=16)
items = st.lists(st.tuples(st.binary(), st.binary(), st.binary()), max_size=3).map(tuple)
numbers_by_name = st.dictionaries(utf8_text, unsigned, max_size=3)
offset = st.integers(0, MAX_OFFSET)
offsets_by_name = st.dictionaries(utf8_text, offset, max_size=3)


def as_tuples(value: Any) -> Any:
    """Return `value` as the control socket reads it: lists are tuples."""
    if isinstance(value, dict):
        return {key: as_tuples(item) for key, item in value.items()}
    return tuple(map(as_tuples, value)) if isinstance(value, list) else value


def request_of(fields: dict[str, Any]) -> Request:
    changed = {name: bytes.fromhex(fields[name]) for name in BINARY if name in fields}
    return REQUESTS[fields["op"]](**(as_tuples(fields) | changed))


def reply_of(to: str, fields: dict[str, Any]) -> Reply:
    if fields["status"] == "error":
        return ErrorReply(**fields)
    binary = ("watch", "unwatch", "proof")
    changed: dict[str, Any] = {
        name: bytes.fromhex(fields[name]) for name in binary if name in fields
    }
    if "items" in fields:
        changed["items"] = tuple(tuple(map(bytes.fromhex, item)) for item in fields["items"])
    for name in ("journaled_kinds", "publish", "sources", "users"):
        if name in fields:
            changed[name] = tuple(fields[name])
    return REPLIES[to](**(fields | changed))


@pytest.mark.parametrize("case", VECTORS["requests"], ids=case_name)
def test_vector_is_this_request(case: dict[str, Any]) -> None:
    request = request_of(case["fields"])
    assert unpack_request(bytes.fromhex(case["hex"])) == request
    assert pack_message(request).hex() == case["hex"]


@pytest.mark.parametrize("case", VECTORS["replies"], ids=case_name)
def test_vector_is_this_reply(case: dict[str, Any]) -> None:
    reply = reply_of(case["to"], case["fields"])
    frame = bytes.fromhex(case["hex"])
    assert unpack_reply(frame, REQUESTS[case["to"]]) == reply
    assert reply_id(frame) == case["fields"]["id"]
    assert msgpack.unpackb(pack_message(reply)) == msgpack.unpackb(frame)


@pytest.mark.parametrize("case", VECTORS["heartbeats"], ids=case_name)
def test_vector_is_this_heartbeat(case: dict[str, Any]) -> None:
    heartbeat = Heartbeat(**case["fields"])
    assert unpack_heartbeat(bytes.fromhex(case["hex"])) == heartbeat
    assert pack_message(heartbeat).hex() == case["hex"]


@pytest.mark.parametrize("case", VECTORS["invalid_requests"], ids=case_name)
def test_vector_is_not_a_request(case: dict[str, str]) -> None:
    with pytest.raises(InvalidFrame):
        unpack_request(bytes.fromhex(case["hex"]))


@pytest.mark.parametrize("case", VECTORS["invalid_replies"], ids=case_name)
def test_vector_is_not_a_reply(case: dict[str, str]) -> None:
    with pytest.raises(InvalidFrame):
        unpack_reply(bytes.fromhex(case["hex"]), REQUESTS[case["to"]])


@pytest.mark.parametrize("case", VECTORS["invalid_heartbeats"], ids=case_name)
def test_vector_is_not_a_heartbeat(case: dict[str, str]) -> None:
    with pytest.raises(InvalidFrame):
        unpack_heartbeat(bytes.fromhex(case["hex"]))


@given(near_messages)
def test_any_bytes_are_a_request_or_a_wire_error(frame: bytes) -> None:
    try:
        request = unpack_request(frame)
    except WireError:
        return
    assert unpack_request(pack_message(request)) == request


@given(near_messages, st.sampled_from(list(REQUESTS.values())))
def test_any_bytes_are_a_reply_or_a_wire_error(frame: bytes, request: type[Request]) -> None:
    try:
        reply = unpack_reply(frame, request)
    except WireError:
        return
    assert reply_id(frame) == reply.id


@given(near_messages)
def test_any_bytes_have_a_reply_id_or_a_wire_error(frame: bytes) -> None:
    try:
        assert type(reply_id(frame)) is int
    except WireError:
        return


@given(near_messages)
def test_any_bytes_are_a_heartbeat_or_a_wire_error(frame: bytes) -> None:
    try:
        heartbeat = unpack_heartbeat(frame)
    except WireError:
        return
    assert unpack_heartbeat(pack_message(heartbeat)) == heartbeat


@given(
    st.builds(
        HelloRequest,
        id=unsigned,
        protocol=st.integers(0, 2**63),
        role=st.sampled_from(["emitter", "edge", "tool"]),
        name=short_text,
        emitter_id=st.none() | emitter_ids,
        emitter_epoch=st.none() | unsigned,
        acknowledged=st.none() | unsigned,
        proof=st.none() | st.binary(max_size=MAX_PROOF_BYTES),
    )
    | st.builds(
        AccountRequest,
        id=unsigned,
        emitter_id=emitter_ids,
        emitter_epoch=unsigned,
        counters=numbers_by_name,
    )
    | st.builds(
        ReplayRequest,
        id=unsigned,
        stream=short_text,
        after=unsigned,
        limit=st.integers(1, MAX_REPLAY_EVENTS),
    )
    | st.builds(RetainedRequest, id=unsigned, prefix=short_text)
    | st.builds(StatsRequest, id=unsigned)
    | st.builds(
        DemandRequest,
        id=unsigned,
        edge=emitter_ids,
        after=unsigned,
        version=unsigned,
        watch=digests,
        unwatch=digests,
    )
    | st.builds(
        WatchedRequest, id=unsigned, epoch=unsigned, after=unsigned, cursor=st.none() | unsigned
    )
)
def test_a_request_survives_the_wire(request: Request) -> None:
    assert unpack_request(pack_message(request)) == request


@given(
    st.tuples(
        st.just(HelloRequest),
        st.builds(
            HelloReply,
            id=unsigned,
            epoch=unsigned,
            journaled_kinds=st.lists(short_text, max_size=3).map(tuple),
            tips=offsets_by_name,
            heartbeat_s=st.floats(0, 60),
            sequence=st.none() | unsigned,
            proof=st.none() | st.binary(max_size=MAX_PROOF_BYTES),
        ),
    )
    | st.tuples(st.just(RetainedRequest), st.builds(RetainedReply, id=unsigned, items=items))
    | st.tuples(
        st.just(ReplayRequest),
        st.builds(ReplayReply, id=unsigned, epoch=unsigned, items=items, low=offset, tip=offset),
    )
    | st.tuples(st.just(AccountRequest), st.builds(AccountReply, id=unsigned))
    | st.tuples(st.just(DemandRequest), st.builds(DemandReply, id=unsigned, version=unsigned))
    | st.tuples(
        st.just(WatchedRequest),
        st.builds(
            WatchedReply,
            id=unsigned,
            epoch=unsigned,
            after=unsigned,
            version=unsigned,
            snapshot=st.booleans(),
            watch=digests,
            unwatch=digests,
            next=st.none() | unsigned,
        ),
    )
    | st.tuples(
        st.just(StatsRequest), st.builds(StatsReply, id=unsigned, stats=payloads.map(as_tuples))
    )
    | st.tuples(
        st.sampled_from(list(REQUESTS.values())),
        st.builds(
            ErrorReply,
            id=unsigned,
            code=st.sampled_from(
                [
                    "bad_request",
                    "unsupported_protocol",
                    "stale_epoch",
                    "emitter_in_use",
                    "unknown_stream",
                    "journal_unavailable",
                ]
            ),
            message=utf8_text,
        ),
    )
)
def test_a_reply_survives_the_wire(exchange: tuple[type[Request], Reply]) -> None:
    request, reply = exchange
    assert unpack_reply(pack_message(reply), request) == reply


@given(
    st.builds(
        Heartbeat,
        tips=offsets_by_name,
        low=offsets_by_name,
        started_at=unsigned,
        journaling=st.booleans(),
    )
)
def test_a_heartbeat_survives_the_wire(heartbeat: Heartbeat) -> None:
    assert unpack_heartbeat(pack_message(heartbeat)) == heartbeat


HEARTBEAT = {"tips": {}, "low": {}, "started_at": 1, "journaling": True}
PAGE = {"id": 1, "status": "success", "epoch": 1, "items": (), "low": 1, "tip": 1}
HELLO = {"id": 1, "status": "success", "epoch": 1, "journaled_kinds": (), "heartbeat_s": 1.0}


@pytest.mark.parametrize("field", ["tips", "low", "began", "start"])
def test_a_heartbeat_with_an_offset_that_no_journal_has_is_refused(field: str) -> None:
    """An edge that took it for its place could not say hello any more; nor with such a stream."""
    for wrong in ({"event": MAX_OFFSET + 1}, {"x" * 256: 1}):
        with pytest.raises(InvalidFrame, match=field):
            unpack_heartbeat(msgpack.packb(HEARTBEAT | {field: wrong}))


@pytest.mark.parametrize(
    ("request_type", "fields", "named"),
    [
        (ReplayRequest, PAGE | {"low": MAX_OFFSET + 1}, "low"),
        (ReplayRequest, PAGE | {"tip": MAX_OFFSET + 1}, "tip"),
        (HelloRequest, HELLO | {"tips": {"event": MAX_OFFSET + 1}}, "tips"),
        # As `after` of the next request it could not be sent.
        (RetainedRequest, PAGE | {"next": bytes(MAX_KEY_BYTES + 1)}, "next"),
    ],
)
def test_a_reply_that_no_request_can_take_up_is_refused(
    request_type: type[Request], fields: dict[str, Any], named: str
) -> None:
    with pytest.raises(InvalidFrame, match=named):
        unpack_reply(msgpack.packb(fields), request_type)


def test_a_request_has_at_most_1_mib() -> None:
    def request(padding: int) -> bytes:
        packed: bytes = msgpack.packb({"op": "stats", "id": 1, "more": "x" * padding})
        return packed

    room = 2 * MAX_CONTROL_BYTES - len(request(MAX_CONTROL_BYTES))
    largest, larger = request(room), request(room + 1)
    assert (len(largest), len(larger)) == (MAX_CONTROL_BYTES, MAX_CONTROL_BYTES + 1)
    assert unpack_request(largest) == StatsRequest(id=1)
    with pytest.raises(InvalidFrame, match="bytes"):
        unpack_request(larger)


def test_a_field_without_a_value_is_left_out() -> None:
    """Older peers take no nil for it."""
    request = RetainedRequest(id=1, prefix="task:")
    assert msgpack.unpackb(pack_message(request)) == {"op": "retained", "id": 1, "prefix": "task:"}


@pytest.mark.parametrize("value", [None, True, "1", 1.0, (1,)])
def test_the_id_of_a_reply_is_an_integer(value: object) -> None:
    with pytest.raises(InvalidFrame):
        reply_id(msgpack.packb({"id": value, "status": "success"}))


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"op": "stats"}, "id"),
        ({"op": "hello", "id": 1, "role": "king", "name": "x"}, "role"),
        ({"op": "retained", "id": 1, "prefix": 5}, "prefix"),
        ({"op": "replay", "id": 1, "stream": "event", "after": 0, "limit": 4097}, "limit"),
        ({"op": "replay", "id": 1, "stream": "event"}, "after"),
        ({"op": "demand", "id": 1, "edge": b"short", "after": 0, "version": 1}, "edge"),
        (
            {"op": "demand", "id": 1, "edge": b"x" * 16, "after": 0, "version": 1, "watch": b"1"},
            "watch",
        ),
        (
            {
                "op": "account",
                "id": 1,
                "emitter_id": b"x" * 16,
                "emitter_epoch": 1,
                "counters": {"accepted": -1},
            },
            r"counters\.accepted",
        ),
    ],
)
def test_a_refused_request_is_told_which_field(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidFrame, match=rf"\b{named}: "):
        unpack_request(msgpack.packb(fields))
