"""Notices: the vectors, round trips, and any bytes at all."""

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.wire.control_message import MAX_PROOF_BYTES
from relay.wire.demand import pack_digests
from relay.wire.errors import InvalidFrame
from relay.wire.notices import (
    Acknowledged,
    DemandNotice,
    ForbiddenNotice,
    Notice,
    Resend,
    pack_demand_notice,
    pack_forbidden_notice,
    pack_notice,
    unpack_notice,
)
from tests.relay.wire.strategies import frames_like
from tests.relay.wire.vectors import case_name, vectors

VECTORS = vectors("notices")
NOTICES: dict[str, type[Notice]] = {"acknowledged": Acknowledged, "resend": Resend}
unsigned = st.integers(0, 2**64 - 1)


@pytest.mark.parametrize("case", VECTORS["notices"], ids=case_name)
def test_vector_is_this_notice(case: dict[str, Any]) -> None:
    proof = [bytes.fromhex(case["proof"])] if "proof" in case else []
    notice = NOTICES[case["op"]](case["epoch"], case["sequence"], *proof)
    read = unpack_notice(bytes.fromhex(case["hex"]))
    assert (type(read), read) == (type(notice), notice)
    assert pack_notice(notice).hex() == case["hex"]


@pytest.mark.parametrize("case", VECTORS["replies"], ids=case_name)
def test_vector_is_a_reply_and_no_notice(case: dict[str, str]) -> None:
    assert unpack_notice(bytes.fromhex(case["hex"])) is None


@pytest.mark.parametrize("case", VECTORS["invalid"], ids=case_name)
def test_vector_is_neither(case: dict[str, str]) -> None:
    with pytest.raises(InvalidFrame):
        unpack_notice(bytes.fromhex(case["hex"]))


proofs = st.none() | st.binary(max_size=MAX_PROOF_BYTES)


@given(st.builds(Acknowledged, unsigned, unsigned, proofs) | st.builds(Resend, unsigned, unsigned))
def test_a_notice_survives_the_wire(notice: Notice) -> None:
    read = unpack_notice(pack_notice(notice))
    assert (type(read), read) == (type(notice), notice)


digests = st.lists(unsigned, max_size=3).map(pack_digests)


@given(st.builds(DemandNotice, unsigned, unsigned, unsigned, digests, digests))
def test_a_notice_of_the_demand_survives_the_wire(notice: DemandNotice) -> None:
    assert unpack_notice(pack_demand_notice(notice)) == notice


@pytest.mark.parametrize("case", VECTORS["demand"], ids=case_name)
def test_vector_is_this_notice_of_the_demand(case: dict[str, Any]) -> None:
    fields = case["fields"]
    notice = DemandNotice(
        fields["epoch"],
        fields["after"],
        fields["version"],
        bytes.fromhex(fields["watch"]),
        bytes.fromhex(fields["unwatch"]),
    )
    assert unpack_notice(bytes.fromhex(case["hex"])) == notice
    assert pack_demand_notice(notice).hex() == case["hex"]


texts = st.text(st.characters(codec="utf-8"))


@given(st.builds(ForbiddenNotice, unsigned, unsigned, texts, texts))
def test_a_notice_of_a_forbidden_event_survives_the_wire(notice: ForbiddenNotice) -> None:
    assert unpack_notice(pack_forbidden_notice(notice)) == notice


@pytest.mark.parametrize("case", VECTORS["forbidden"], ids=case_name)
def test_vector_is_this_notice_of_a_forbidden_event(case: dict[str, Any]) -> None:
    notice = ForbiddenNotice(**case["fields"])
    assert unpack_notice(bytes.fromhex(case["hex"])) == notice
    assert pack_forbidden_notice(notice).hex() == case["hex"]


@given(
    frames_like(
        *(msgpack.unpackb(bytes.fromhex(case["hex"])) for case in VECTORS["forbidden"]),
        *(msgpack.unpackb(bytes.fromhex(case["hex"])) for case in VECTORS["demand"]),
        *(msgpack.unpackb(bytes.fromhex(case["hex"])) for case in VECTORS["notices"]),
        *(msgpack.unpackb(bytes.fromhex(case["hex"])) for case in VECTORS["replies"]),
    )
)
def test_any_bytes_are_a_notice_a_reply_or_an_invalid_frame(frame: bytes) -> None:
    try:
        notice = unpack_notice(frame)
    except InvalidFrame:
        return
    if notice is None:
        assert "id" in msgpack.unpackb(frame)
    elif isinstance(notice, DemandNotice):
        assert unpack_notice(pack_demand_notice(notice)) == notice
    elif isinstance(notice, ForbiddenNotice):
        assert unpack_notice(pack_forbidden_notice(notice)) == notice
    else:
        assert unpack_notice(pack_notice(notice)) == notice


@pytest.mark.parametrize(
    ("packed", "field"),
    [
        *((pack_notice(Acknowledged(1, 1)), field) for field in ("epoch", "sequence")),
        *((pack_notice(Resend(1, 1)), field) for field in ("epoch", "sequence")),
        *(
            (pack_forbidden_notice(ForbiddenNotice(1, 1, "event:a", "topic")), field)
            for field in ("epoch", "sequence")
        ),
        *(
            (pack_demand_notice(DemandNotice(1, 1, 1, b"", b"")), field)
            for field in ("epoch", "after", "version")
        ),
    ],
)
def test_numbers_have_64_bits_without_a_sign(packed: bytes, field: str) -> None:
    fields = msgpack.unpackb(packed)
    for number in (0, 2**64 - 1):
        assert getattr(unpack_notice(msgpack.packb(fields | {field: number})), field) == number
    for wrong in (-1, True, None, "1", 1.0):
        with pytest.raises(InvalidFrame, match=f"^{field}: "):
            unpack_notice(msgpack.packb(fields | {field: wrong}))


@pytest.mark.parametrize("field", ["watch", "unwatch"])
@pytest.mark.parametrize("wrong", [None, "8 bytes.", 8, bytes(1), bytes(7), bytes(9), bytes(12)])
def test_a_notice_of_the_demand_has_whole_digests(field: str, wrong: object) -> None:
    notice = DemandNotice(1, 2, 3, bytes(8), bytes(16))
    assert unpack_notice(pack_demand_notice(notice)) == notice
    with pytest.raises(InvalidFrame, match=f"^{field}: "):
        unpack_notice(msgpack.packb({"op": "demand", **notice._asdict(), field: wrong}))


@pytest.mark.parametrize("field", ["topic", "field"])
@pytest.mark.parametrize("wrong", [None, b"event:a", 1, True, ["event:a"], {}])
def test_a_notice_of_a_forbidden_event_names_topic_and_field(field: str, wrong: object) -> None:
    notice = ForbiddenNotice(1, 2, "event:a", "source")
    with pytest.raises(InvalidFrame, match=f"^{field}: must be text"):
        unpack_notice(msgpack.packb({"op": "forbidden", **notice._asdict(), field: wrong}))


@pytest.mark.parametrize("wrong", ["text", 5, True, [], bytes(MAX_PROOF_BYTES + 1)])
def test_a_proof_is_a_few_bytes(wrong: object) -> None:
    fields = {"op": "acknowledged", "epoch": 1, "sequence": 1}
    longest = bytes(MAX_PROOF_BYTES)
    read = unpack_notice(msgpack.packb(fields | {"proof": longest}))
    assert read == Acknowledged(1, 1, longest)
    with pytest.raises(InvalidFrame, match=r"^proof: "):
        unpack_notice(msgpack.packb(fields | {"proof": wrong}))


@pytest.mark.parametrize("op", [None, "", "other", 5, b"resend", ["resend"], {"resend": 1}])
def test_a_notice_has_a_known_op(op: object) -> None:
    with pytest.raises(InvalidFrame, match="known op"):
        unpack_notice(msgpack.packb({"op": op, "epoch": 1, "sequence": 1}))
