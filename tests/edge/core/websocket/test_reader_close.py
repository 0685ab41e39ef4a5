"""The payloads of close frames (RFC 6455, section 7.4)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.exceptions import ProtocolError
from websockets.frames import Close as CloseFrame

from edge.core.websocket.close_codes import Close
from edge.core.websocket.reader import ProtocolViolation, read_close


@pytest.mark.parametrize(
    ("payload", "close"),
    [
        (b"", Close(1005, "")),
        (b"\x03\xe8", Close(1000, "")),
        (b"\x03\xe9going", Close(1001, "going")),
        (b"\x0b\xb8\xc3\xa4", Close(3000, "ä")),
        (b"\x03\xf6", Close(1014, "")),
        (b"\x13\x87", Close(4999, "")),
    ],
)
def test_the_content_of_a_close_frame(payload: bytes, close: Close) -> None:
    assert read_close(payload) == close


@given(st.integers(0, 2**16 - 1))
def test_only_some_codes_may_be_sent(code: int) -> None:
    payload = code.to_bytes(2)
    try:
        CloseFrame.parse(payload).check()
    except ProtocolError:
        with pytest.raises(ProtocolViolation) as violated:
            read_close(payload)
        assert violated.value.close == Close(1002, "bad close code")
    else:
        assert read_close(payload) == Close(code, "")


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"\x03", 1002),
        (b"\x03\xe8\xff", 1007),
        (b"\x03\xe8\xed\xa0\x80", 1007),
        (b"\0\0\xff", 1002),
        *((code.to_bytes(2), 1002) for code in (999, 1004, 1005, 1006, 1015, 2999, 5000)),
    ],
)
def test_a_broken_close_frame(payload: bytes, code: int) -> None:
    with pytest.raises(ProtocolViolation) as violated:
        read_close(payload)
    assert violated.value.close.code == code
