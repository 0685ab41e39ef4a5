"""The metadata that both sides exchange in a handshake."""

import pytest

from relay.zmtp.errors import ZmtpError
from relay.zmtp.frames import pack_metadata
from relay.zmtp.mechanism import check_metadata, our_metadata, refusal


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (b"XSUB", b"PUB"),
        (b"XSUB", b"XPUB"),
        (b"XPUB", b"SUB"),
        (b"XPUB", b"XSUB"),
        (b"ROUTER", b"DEALER"),
        (b"ROUTER", b"REQ"),
    ],
)
def test_a_type_that_fits_is_accepted_whatever_the_case_of_the_name(
    ours: bytes, theirs: bytes
) -> None:
    data = pack_metadata([(b"SOCKET-type", theirs), (b"Identity", b"")])
    assert check_metadata(data, ours)[b"socket-type"] == theirs
    assert our_metadata(ours) == pack_metadata([(b"Socket-Type", ours)])


@pytest.mark.parametrize("theirs", [b"SUB", b"DEALER", b"", b"pub", b"\n\x1b[2J" * 100])
def test_another_type_is_refused_and_told(theirs: bytes) -> None:
    with pytest.raises(ZmtpError) as refused:
        check_metadata(pack_metadata([(b"Socket-Type", theirs)]), b"XSUB")
    assert refused.value.reason == "wrong_socket_type"
    text = str(refused.value)
    assert text.isprintable()
    assert len(text) < 200
    assert refused.value.farewell.endswith(text.encode())


def test_metadata_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(ZmtpError) as refused:
        check_metadata(b"\x0bSocket", b"XSUB")
    assert refused.value.reason == "invalid_handshake"


def test_a_refusal_is_told_in_at_most_255_bytes() -> None:
    assert refusal("reason", "x" * 1000).farewell == b"\x06" + (262).to_bytes(8, "big") + (
        b"\x05ERROR\xff" + b"x" * 255
    )
