"""Envelopes: the vectors, the limits, round trips, and any input at all."""

import json
import re
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core.protocol.messages import event
from edge.core.websocket.frames import frame_payload
from relay.wire import envelope as module
from relay.wire.envelope import (
    FINISHED_STATUSES,
    MAX_DEPTH,
    MAX_ENVELOPE_BYTES,
    MAX_LABEL_CHARS,
    MAX_SAFE_INT,
    UNFINISHED_STATUSES,
    Envelope,
    complete_envelope,
    default_type,
    is_finished_task,
    pack_envelope,
    unpack_envelope,
)
from relay.wire.errors import InvalidEnvelope, TooDeep, TooLarge, WireError
from relay.wire.topics import Topic
from relay.wire.usernames import normal_username
from tests.relay.wire.strategies import envelopes, frames_like, json_values, kinds, utf8_text
from tests.relay.wire.vectors import case_name, vectors

VECTORS = vectors("envelopes")
NOW_MS = 1_790_000_000_123
EVENT = Envelope("event", {}, None, "manager-1", 1_790_000_000_000, "01890a5d")
FIELDS = {key: value for key, value in EVENT._asdict().items() if value is not None}

near_envelopes = frames_like(FIELDS, {**FIELDS, "username": "alice"}, {"a": 1})


def from_fields(fields: dict[str, Any]) -> Envelope:
    return Envelope(**{"username": None, **fields})


def normal(envelope: Envelope) -> Envelope:
    """The envelope as it is read: its user's name is in normal form."""
    name = envelope.username
    return envelope if name is None else envelope._replace(username=normal_username(name))


def nested(levels: int, *, in_lists: bool = False) -> dict[str, Any]:
    """Return a map that is `levels` deep, itself included."""
    value: Any = [] if in_lists else {}
    for _ in range(levels - 2):
        value = [value] if in_lists else {"n": value}
    return {"n": value}


@pytest.mark.parametrize("case", VECTORS["valid"], ids=case_name)
def test_vector_unpacks_to_its_fields(case: dict[str, Any]) -> None:
    envelope = unpack_envelope(bytes.fromhex(case["hex"]), case["kind"])
    assert envelope == from_fields(case["fields"])


@pytest.mark.parametrize("case", VECTORS["valid"], ids=case_name)
def test_vector_fields_pack_to_its_bytes(case: dict[str, Any]) -> None:
    assert pack_envelope(from_fields(case["fields"]), case["kind"]).hex() == case["hex"]


@pytest.mark.parametrize("case", VECTORS["plain"], ids=case_name)
def test_vector_of_a_plain_publisher_is_completed(case: dict[str, Any]) -> None:
    envelope = complete_envelope(
        bytes.fromhex(case["hex"]), case["kind"], now_ms=case["now_ms"], new_id=case["new_id"]
    )
    assert envelope == from_fields(case["fields"])


@pytest.mark.parametrize("case", VECTORS["invalid"], ids=case_name)
def test_vector_is_refused_with_reason_and_field(case: dict[str, Any]) -> None:
    with pytest.raises(InvalidEnvelope) as caught:
        unpack_envelope(bytes.fromhex(case["hex"]), case["kind"])
    assert (caught.value.reason, caught.value.field) == (case["reason"], case["field"])


@given(near_envelopes, kinds)
def test_any_bytes_are_an_envelope_that_json_can_carry_or_a_wire_error(
    payload: bytes, kind: str
) -> None:
    try:
        envelope = unpack_envelope(payload, kind)
    except WireError:
        return
    text = frame_payload(event(Topic(f"{kind}:x", kind), 1, envelope))
    assert set(json.loads(text)) == {"type", "topic", "data", "source", "emitted_at", "offset"}
    assert unpack_envelope(pack_envelope(envelope, kind), kind) == envelope


@given(near_envelopes, kinds)
def test_any_bytes_of_a_plain_publisher_are_completed_or_a_wire_error(
    payload: bytes, kind: str
) -> None:
    try:
        envelope = complete_envelope(payload, kind, now_ms=NOW_MS, new_id="fresh")
    except WireError:
        return
    event(Topic(f"{kind}:x", kind), 1, envelope)
    assert unpack_envelope(pack_envelope(envelope, kind), kind) == normal(envelope)


@given(envelopes, kinds)
def test_a_packed_envelope_unpacks_to_the_same(envelope: Envelope, kind: str) -> None:
    packed = pack_envelope(envelope, kind)
    assert unpack_envelope(packed, kind) == normal(envelope)
    assert complete_envelope(packed, kind, now_ms=0, new_id="other") == normal(envelope)


def test_an_event_is_addressed_to_a_user_in_any_spelling_of_the_name() -> None:
    envelope = EVENT._replace(username="Zoe\u0308")
    assert unpack_envelope(pack_envelope(envelope, "event"), "event").username == "Zo\u00eb"


def outcome(unpack: Callable[[], Envelope]) -> object:
    try:
        return unpack()
    except WireError as error:
        return type(error), str(error)


@given(near_envelopes | envelopes.map(lambda each: pack_envelope(each, "task")), kinds)
def test_the_quick_look_decides_as_the_thorough_one_does(payload: bytes, kind: str) -> None:
    quick = outcome(lambda: unpack_envelope(payload, kind))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_is_plainly_right", lambda fields, kind: False)
        assert outcome(lambda: unpack_envelope(payload, kind)) == quick


LONGEST, SHORTEST = "x" * MAX_LABEL_CHARS, "x"


@pytest.mark.parametrize(
    "envelope",
    [
        EVENT,
        Envelope(SHORTEST, {}, SHORTEST, "", 0, SHORTEST),
        Envelope(LONGEST, {"n": 1, "on": True, "of": None}, LONGEST, LONGEST, 2**53, LONGEST),
    ],
)
def test_the_quick_look_is_enough_for_usual_envelopes(
    envelope: Envelope, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look_thoroughly(*_: object) -> None:
        pytest.fail("this takes longer")

    monkeypatch.setattr(module, "_check_fields", look_thoroughly)
    assert unpack_envelope(pack_envelope(envelope, "event"), "event") == envelope


@given(envelopes)
def test_the_browser_gets_the_emitted_data_as_json(envelope: Envelope) -> None:
    message = json.loads(frame_payload(event(Topic("event:x", "event"), 1, envelope)))
    assert message["data"] == envelope.data
    assert message["type"] == envelope.type
    assert message["source"] == envelope.source


python_values = st.recursive(
    json_values
    | st.floats()
    | st.binary(max_size=5)
    | st.integers()
    | st.complex_numbers()
    | st.dates()
    | st.sets(st.integers(), max_size=2)
    | st.text(st.characters(exclude_categories=()), max_size=5)
    | st.just(object())
    | st.just(Path("x"))
    | st.just(Decimal(1)),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.integers() | st.text(max_size=5), inner, max_size=3)
        | st.dictionaries(utf8_text, inner, max_size=3).map(OrderedDict)
    ),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=5), python_values, max_size=3), kinds)
def test_any_data_packs_or_is_refused_by_its_path(data: dict[str, Any], kind: str) -> None:
    refused: str | None = None
    try:
        packed = pack_envelope(EVENT._replace(username="alice", data=data), kind)
    except InvalidEnvelope as error:
        refused = error.field
    if refused is None:
        event(Topic("event:x", "event"), 1, unpack_envelope(packed, kind))
    else:
        assert refused == "data" or refused.startswith("data.")


@given(st.sampled_from(["type", "source", "id", "username", "emitted_at"]), python_values, kinds)
def test_any_label_packs_or_is_refused_by_its_name(field: str, value: Any, kind: str) -> None:
    changed: dict[str, Any] = {"username": "alice", field: value}
    refused: str | None = None
    try:
        packed = pack_envelope(EVENT._replace(**changed), kind)
    except InvalidEnvelope as error:
        refused = error.field
    if refused is None:
        unpack_envelope(packed, kind)
    else:
        assert refused == field


@pytest.mark.parametrize(
    ("data", "path"),
    [
        ({"when": Decimal(1)}, "data.when"),
        ({"a": {"b": [1, {"c": {1, 2}}]}}, "data.a.b[1].c"),
        ({"a": (1, 2, b"x")}, "data.a[2]"),
        ({"a": {3: 1}}, "data.a"),
        ({3: 1}, "data"),
        ({"a": 2**64}, "data.a"),
        ({"a": -(2**63) - 1}, "data.a"),
        ({"a": [float("inf")]}, "data.a[0]"),
        ({"a": "\ud800"}, "data"),
    ],
)
def test_the_error_names_the_path_of_the_first_wrong_value(data: Any, path: str) -> None:
    with pytest.raises(InvalidEnvelope) as caught:
        pack_envelope(EVENT._replace(data=data), "event")
    assert caught.value.field == path
    assert str(caught.value).startswith(f"{path}: ")


class Text(str):
    __slots__ = ()


class Number(int):
    pass


class Lookup(Mapping[str, int]):
    def __getitem__(self, key: str) -> int:
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"type": ""}, "type: must have 1 to 255 characters"),
        ({"source": "x" * 256}, "source: must have 0 to 255 characters"),
        ({"type": None}, "type: must be text, not nothing"),
        ({"id": 5}, "id: must be text, not int"),
        ({"data": {"a": b"x"}}, "data.a: a value of type bytes cannot be carried"),
        (
            {"data": {"a": Lookup()}},
            "data.a: a value of type Lookup cannot be carried (use a dict)",
        ),
    ],
)
def test_the_error_says_what_is_expected(changed: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidEnvelope) as caught:
        pack_envelope(EVENT._replace(**changed), "event")
    assert str(caught.value) == text


@pytest.mark.parametrize(
    "value", [Text("x"), Number(5), Number(-MAX_SAFE_INT), Number(MAX_SAFE_INT)]
)
def test_subclasses_of_leaves_are_carried(value: object) -> None:
    envelope = EVENT._replace(data={"a": [value]})
    assert unpack_envelope(pack_envelope(envelope, "event"), "event") == envelope


@pytest.mark.parametrize("number", [-MAX_SAFE_INT, MAX_SAFE_INT])
def test_the_largest_integers_are_carried_and_larger_ones_are_refused(number: int) -> None:
    envelope = EVENT._replace(data={"n": number, "more": [number]})
    assert unpack_envelope(pack_envelope(envelope, "event"), "event") == envelope
    beyond = number + (1 if number > 0 else -1)
    for data, field in (({"n": beyond}, "data.n"), ([[beyond]], "data[0][0]"), (beyond, "data")):
        with pytest.raises(InvalidEnvelope, match="does not reach browsers unharmed") as refused:
            pack_envelope(EVENT._replace(data=data), "event")
        assert refused.value.field == field
        payload = msgpack.packb({"type": "event", "data": data})
        with pytest.raises(InvalidEnvelope, match="does not reach browsers unharmed"):
            complete_envelope(payload, "event", now_ms=NOW_MS, new_id="new")


def test_integers_that_an_earlier_version_has_journaled_are_read() -> None:
    for number in (-(2**63), 2**64 - 1):
        payload = msgpack.packb(FIELDS | {"data": {"n": number, "more": [number]}})
        assert unpack_envelope(payload, "event").data == {"n": number, "more": [number]}


@pytest.mark.parametrize("data", [None, True, 5, 1.5, "text", [1, ["a"]]])
def test_data_may_be_any_json_value_and_of_a_task_a_map(data: Any) -> None:
    envelope = EVENT._replace(data=data, username="alice")
    assert unpack_envelope(pack_envelope(envelope, "event"), "event") == envelope
    completed = complete_envelope(msgpack.packb(data), "event", now_ms=NOW_MS, new_id="new")
    assert completed.data == data
    with pytest.raises(InvalidEnvelope, match="of a task must be a map"):
        pack_envelope(envelope, "task")


@pytest.mark.parametrize("letter", ["x", "ü"])
@pytest.mark.parametrize("field", ["type", "source", "id", "username"])
def test_a_label_has_at_most_255_characters(field: str, letter: str) -> None:
    most: dict[str, Any] = {field: letter * MAX_LABEL_CHARS}
    over: dict[str, Any] = {field: letter * (MAX_LABEL_CHARS + 1)}
    envelope = EVENT._replace(**most)
    assert unpack_envelope(pack_envelope(envelope, "event"), "event") == envelope
    with pytest.raises(InvalidEnvelope, match=f"^{field}: "):
        pack_envelope(EVENT._replace(**over), "event")
    with pytest.raises(InvalidEnvelope, match=f"^{field}: "):
        unpack_envelope(msgpack.packb(FIELDS | over), "event")


WRONG: dict[str, tuple[Any, ...]] = {
    "type": ("", None, 5, b"x", ["x"]),
    "source": (None, 5, b"x", ["x"]),
    "id": ("", None, 5, b"x", ["x"]),
    "username": ("", 5, b"x", ["x"]),
    "emitted_at": (None, -1, 2**53 + 1, 1.0, True, "1"),
    "data": (b"x", {"a": b"x"}, {b"a": 1}, [[b"x"]]),
}


@pytest.mark.parametrize(
    ("field", "wrong"), [(field, wrong) for field, values in WRONG.items() for wrong in values]
)
@pytest.mark.parametrize("kind", ["event", "task"])
def test_a_wrong_field_is_refused_by_its_name(field: str, wrong: Any, kind: str) -> None:
    fields: dict[str, Any] = FIELDS | {"username": "alice", field: wrong}
    payload = msgpack.packb(fields)
    refusals: list[Callable[[], object]] = [
        lambda: pack_envelope(from_fields(fields), kind),
        lambda: unpack_envelope(payload, kind),
        lambda: complete_envelope(payload, kind, now_ms=NOW_MS, new_id="new"),
    ]
    for refused in refusals:
        with pytest.raises(InvalidEnvelope) as caught:
            refused()
        assert re.split(r"[.\[]", caught.value.field)[0] == field


@pytest.mark.parametrize("field", ["type", "source", "id", "username"])
def test_a_label_that_utf_8_cannot_encode_is_refused_by_its_name(field: str) -> None:
    changed: dict[str, Any] = {field: "a\ud800"}
    with pytest.raises(InvalidEnvelope, match=rf"^{field}: "):
        pack_envelope(EVENT._replace(**changed), "event")


@pytest.mark.parametrize("emitted_at", [0, 2**53])
def test_the_first_and_the_last_moment_are_carried(emitted_at: int) -> None:
    envelope = EVENT._replace(emitted_at=emitted_at)
    assert unpack_envelope(pack_envelope(envelope, "event"), "event") == envelope


@pytest.mark.parametrize("value", [False, None, 1, "yes"])
def test_only_true_binds_a_state_to_its_emitter(value: object) -> None:
    """The value of a later version is no reason to end a task."""
    assert not unpack_envelope(msgpack.packb(FIELDS | {"while_connected": value}), "event")[-1]
    assert b"while_connected" not in pack_envelope(EVENT, "event")
    bound = EVENT._replace(while_connected=True)
    assert unpack_envelope(pack_envelope(bound, "event"), "event") == bound


@pytest.mark.parametrize(
    ("status", "is_last"),
    [
        *((status, True) for status in FINISHED_STATUSES),
        *((status, False) for status in (*UNFINISHED_STATUSES, "", None, ["success"], "paused")),
    ],
)
def test_a_task_is_finished_by_its_status(status: object, is_last: bool) -> None:
    assert is_finished_task(EVENT._replace(data={"status": status})) == is_last
    assert not is_finished_task(EVENT)


@pytest.mark.parametrize("payload", [b"", b"\xc1", b"\x80\x80", b"\xc0", b"\x90", b"\xd4\x05x"])
def test_a_payload_is_one_map(payload: bytes) -> None:
    with pytest.raises(InvalidEnvelope, match=r"^envelope: "):
        unpack_envelope(payload, "event")


def test_a_payload_that_msgpack_does_not_descend_is_too_deep() -> None:
    with pytest.raises(TooDeep, match=r"^envelope: "):
        unpack_envelope(b"\x91" * 5000 + b"\xc0", "event")


@pytest.mark.parametrize("key", [5, 10**39, 10**40, ("x" * 100,)])
def test_the_error_shows_the_start_of_a_wrong_key(key: object) -> None:
    with pytest.raises(InvalidEnvelope) as caught:
        pack_envelope(EVENT._replace(data={"a": {key: 1}}), "event")
    shown = repr(key) if len(repr(key)) <= 40 else f"{repr(key)[:40]}…"
    assert str(caught.value) == f"data.a: the key {shown} must be text"


@pytest.mark.parametrize("in_lists", [False, True])
def test_data_is_at_most_32_deep(in_lists: bool) -> None:
    deepest = EVENT._replace(data=nested(MAX_DEPTH, in_lists=in_lists))
    assert unpack_envelope(pack_envelope(deepest, "event"), "event") == deepest
    deeper = nested(MAX_DEPTH + 1, in_lists=in_lists)
    with pytest.raises(TooDeep):
        pack_envelope(EVENT._replace(data=deeper), "event")
    with pytest.raises(TooDeep):
        unpack_envelope(msgpack.packb(FIELDS | {"data": deeper}), "event")
    with pytest.raises(TooDeep):
        complete_envelope(msgpack.packb(deeper), "event", now_ms=0, new_id="x")


def test_data_that_contains_itself_is_too_deep() -> None:
    data: dict[str, Any] = {}
    data["self"] = data
    with pytest.raises(TooDeep):
        pack_envelope(EVENT._replace(data=data), "event")


def test_an_envelope_has_at_most_1_mib() -> None:
    empty = len(pack_envelope(EVENT._replace(data={"s": "x" * 2**16}), "event")) - 2**16
    largest = EVENT._replace(data={"s": "x" * (MAX_ENVELOPE_BYTES - empty)})
    packed = pack_envelope(largest, "event")
    assert len(packed) == MAX_ENVELOPE_BYTES
    assert unpack_envelope(packed, "event") == largest
    with pytest.raises(TooLarge):
        pack_envelope(EVENT._replace(data={"s": largest.data["s"] + "x"}), "event")
    with pytest.raises(TooLarge):
        unpack_envelope(packed + b"\x00", "event")
    with pytest.raises(TooLarge):
        complete_envelope(packed + b"\x00", "event", now_ms=0, new_id="x")


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("event", "event"), ("task", "task_update"), ("resource-monitor", "resource_update")],
)
def test_the_type_follows_the_kind_when_none_is_given(kind: str, expected: str) -> None:
    assert default_type(kind) == expected


def test_a_task_is_always_addressed() -> None:
    with pytest.raises(InvalidEnvelope, match=r"^username: "):
        pack_envelope(EVENT, "task")
    with pytest.raises(InvalidEnvelope, match=r"^username: "):
        complete_envelope(b"\x80", "task", now_ms=0, new_id="x")
