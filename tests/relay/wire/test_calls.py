"""The messages of calls: names of methods, and notices."""

from typing import Any

import msgpack
import pytest

from relay.wire.calls import (
    CallNotice,
    ResultNotice,
    is_method,
    pack_call_notice,
    read_call_notice,
)
from relay.wire.errors import InvalidFrame
from tests.relay.wire.vectors import case_name, vectors

CALL = CallNotice(3, "restart_server", b"\x80", "ann", "user", 5.0)


@pytest.mark.parametrize("name", ["a", "restart_server", "v1.users.list", "x-1", "a" * 64])
def test_names(name: str) -> None:
    assert is_method(name)


@pytest.mark.parametrize("name", ["", "A", "1a", "a b", "a:b", "a\n", "a" * 65, "ä"])
def test_wrong_names(name: str) -> None:
    assert not is_method(name)


@pytest.mark.parametrize(
    "notice", [CALL, ResultNotice(3, b"\xc0", None), ResultNotice(3, None, "failed")]
)
def test_notices_are_read_as_they_were_packed(notice: CallNotice | ResultNotice) -> None:
    assert read_call_notice(msgpack.unpackb(pack_call_notice(notice))) == notice


@pytest.mark.parametrize("case", vectors("notices")["calls"], ids=case_name)
def test_vector_is_this_notice(case: dict[str, Any]) -> None:
    frame = bytes.fromhex(case["hex"])
    notice = read_call_notice(msgpack.unpackb(frame))
    assert notice is not None
    binary = {"params", "result"}
    assert notice._asdict() == {
        name: bytes.fromhex(value) if name in binary else value
        for name, value in case.items()
        if name not in ("name", "op", "hex")
    }
    assert pack_call_notice(notice) == frame


def test_a_reply_is_no_notice() -> None:
    assert read_call_notice({"id": 1, "status": "success"}) is None


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"op": "other"},
        {"op": "call"},
        {"op": "result", "call": True},
        {"op": "result", "call": 1, "result": "text"},
        {"op": "call", **CALL._asdict(), "params": "text"},
        {"op": "call", **CALL._asdict(), "timeout_s": None},
    ],
)
def test_malformed_notices_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(InvalidFrame):
        read_call_notice(fields)
