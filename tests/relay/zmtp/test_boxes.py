"""Frames in boxes, beside PyNaCl's own functions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl import bindings as sodium

from relay.zmtp.boxes import KEY_BYTES, Boxes
from relay.zmtp.errors import ZmtpError
from relay.zmtp.frames import COMMAND, MORE, pack_command, pack_message
from relay.zmtp.reader import Bounds, ZmtpReader

KEY = bytes(range(KEY_BYTES))
READER = Bounds(10**6, 10**6, 8)


def theirs(number: int, text: bytes) -> bytes:
    """A frame of the peer."""
    nonce = number.to_bytes(8, "big")
    return b"\7MESSAGE" + nonce + sodium.crypto_box_afternm(text, b"CurveZMQMESSAGEC" + nonce, KEY)


@given(st.lists(st.integers(0, 9000).map(bytes), min_size=1, max_size=4))
def test_messages_are_sealed_frame_by_frame_also_when_they_are_joined(frames: list[bytes]) -> None:
    reader = ZmtpReader(READER)
    reader.feed(Boxes(KEY).seal(pack_message(frames) + pack_message([b"next"])))
    sealed = reader.read(100)
    texts = []
    for number, [frame] in enumerate(sealed, 1):
        nonce = number.to_bytes(8, "big")
        assert frame[:16] == b"\7MESSAGE" + nonce
        texts.append(sodium.crypto_box_open_afternm(frame[16:], b"CurveZMQMESSAGES" + nonce, KEY))
    more = [b"\1"] * (len(frames) - 1) + [b"\0", b"\0"]
    assert texts == [flag + body for flag, body in zip(more, [*frames, b"next"], strict=True)]


@pytest.mark.parametrize("size", [0, 1, 200, 4095, 5000])
def test_frames_of_the_peer_are_opened(size: int) -> None:
    frames = [[theirs(1, b"\1" + bytes(size))], [theirs(5, b"\2ping")], [theirs(6, b"\0")]]
    expected = [(MORE, bytes(size)), (COMMAND, b"ping"), (0, b"")]
    assert Boxes(KEY).open(frames) == expected


def test_a_command_is_sealed_as_one() -> None:
    sealed = Boxes(KEY).seal(pack_command(b"PONG", b"x"))
    box = sealed[2 + 16 :]
    text = sodium.crypto_box_open_afternm(box, b"CurveZMQMESSAGES" + bytes(7) + b"\1", KEY)
    assert text == b"\2\4PONGx"


@pytest.mark.parametrize(
    "frame",
    [b"", b"\7MESSAGE" + bytes(8), b"\7MESSAGE" + bytes(24), b"\4PING" + bytes(60)],
)
def test_what_is_no_box_is_refused(frame: bytes) -> None:
    with pytest.raises(ZmtpError):
        Boxes(KEY).open([[frame]])


def test_a_frame_that_comes_again_is_refused() -> None:
    boxes = Boxes(KEY)
    boxes.open([[theirs(5, b"\0x")]])
    for number in (5, 4):
        with pytest.raises(ZmtpError, match="comes again"):
            boxes.open([[theirs(number, b"\0x")]])


@pytest.mark.parametrize("size", [10, 5000])
def test_each_forged_frame_has_an_error_of_its_own(size: int) -> None:
    """An error that is raised again keeps all that it has passed in memory, peers as well."""
    found: list[BaseException] = []
    for _ in range(2):
        forged = bytearray(theirs(1, bytes(size)))
        forged[-1] ^= 1
        with pytest.raises(ZmtpError, match="cannot be decrypted") as refused:
            Boxes(KEY).open([[bytes(forged)]])
        found.append(refused.value)
    assert found[0] is not found[1]
