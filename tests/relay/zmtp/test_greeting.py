"""The first 64 bytes: whoever speaks something else is refused at the first byte that says so."""

import pytest

from relay.zmtp.errors import ZmtpError
from relay.zmtp.greeting import GREETING_BYTES, check_greeting, our_greeting
from tests.support.zmtp_peer import GREETING


def test_ours_has_the_form_of_the_specification() -> None:
    assert our_greeting(b"NULL") == GREETING
    curve = our_greeting(b"CURVE")
    assert len(curve) == GREETING_BYTES
    assert curve[12:32] == b"CURVE".ljust(20, b"\0")
    assert curve[32] == 1, "we are the server"


def test_a_right_one_is_accepted_at_every_length() -> None:
    for length in range(GREETING_BYTES + 1):
        check_greeting(GREETING[:length], b"NULL")


@pytest.mark.parametrize(
    ("received", "reason"),
    [
        (b"GET / HTTP/1.1", "not_zmtp"),
        (b"\xff" + bytes(9), "not_zmtp"),
        (b"\x01\x00", "not_zmtp"),
        (GREETING[:10] + b"\x01", "old_zmtp"),
        (GREETING[:10] + b"\x02", "old_zmtp"),
        (GREETING[:12] + b"PLAIN".ljust(52, b"\0"), "wrong_mechanism"),
        (GREETING[:12] + bytes(52), "wrong_mechanism"),
    ],
)
def test_a_wrong_one_is_refused(received: bytes, reason: str) -> None:
    with pytest.raises(ZmtpError) as refused:
        check_greeting(received, b"NULL")
    assert refused.value.reason == reason


def test_a_later_version_is_accepted() -> None:
    check_greeting(GREETING[:10] + b"\x04" + GREETING[11:], b"NULL")


def test_the_text_for_the_log_has_no_control_characters_of_the_peer() -> None:
    wrong = GREETING[:12] + b"x\n\x1b[2J\xff".ljust(20, b"\0") + GREETING[32:]
    with pytest.raises(ZmtpError) as refused:
        check_greeting(wrong, b"NULL")
    assert str(refused.value).isprintable()
