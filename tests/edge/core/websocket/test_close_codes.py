"""The table of close codes, against the vectors that clients are tested with."""

import pytest
from websockets.frames import Close as CloseFrame

from edge.core.websocket import close_codes
from edge.core.websocket.close_codes import Close, CloseCode, CloseCodes
from tests.relay.wire.vectors import vectors

ROWS = vectors("close_codes")


def test_the_table_is_the_one_that_clients_rely_on() -> None:
    assert [
        {
            "code": row.code,
            "meaning": row.meaning,
            "client_should": row.advice,
            "legacy_code": row.legacy,
        }
        for row in CloseCode
    ] == ROWS


@pytest.mark.parametrize("row", CloseCode, ids=lambda row: row.name)
def test_legacy_codes_are_registered_ones_and_keep_the_reason(row: CloseCode) -> None:
    close = CloseCodes.LEGACY.on_wire(row.close("because"))
    assert close == Close(row.legacy, "because")
    assert 1000 < close.code < 1015
    assert CloseCodes.STANDARD.on_wire(row.close("because")) == Close(row.code, "because")


def test_a_code_outside_of_the_table_is_sent_as_it_is() -> None:
    close = Close(1011, "keepalive ping timeout")
    assert CloseCodes.LEGACY.on_wire(close) == close


def test_no_code_has_two_meanings() -> None:
    codes = [row.code for row in CloseCode]
    assert len(codes) == len(set(codes))


def test_the_reason_is_the_meaning_unless_given() -> None:
    assert CloseCode.TOO_SLOW.close() == Close(4008, "too slow")
    assert CloseCode.TOO_SLOW.close("because") == Close(4008, "because")
    assert CloseCode.TOO_SLOW.close("") == Close(4008, "")


def test_who_is_to_come_back_is_told_when() -> None:
    """In whole seconds, as clients read it, and never at once."""
    assert close_codes.try_again("overloaded", 2.1) == Close(4013, "overloaded, retry in 3 s")
    assert close_codes.try_again("overloaded", 0.01) == Close(4013, "overloaded, retry in 1 s")


@pytest.mark.parametrize(
    ("close", "reason"),
    [
        (close_codes.MISSING_AUTHENTICATION, "Missing authentication message"),
        (close_codes.MISSING_TOKEN, "Missing token"),
        (close_codes.INVALID_TOKEN, "Invalid token"),
        (close_codes.AUTHENTICATION_TIMEOUT, "Authentication timeout"),
    ],
)
def test_why_a_client_is_not_authenticated(close: Close, reason: str) -> None:
    assert close == Close(1008, reason)


def test_every_code_and_reason_fits_a_close_frame() -> None:
    for row in CloseCode:
        data = CloseFrame(*row.close()).serialize()
        assert len(data) <= 125
        assert CloseFrame.parse(data).code == row.code
