"""Boxes against PyNaCl's own functions, and what must not be opened."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl import bindings as sodium
from nacl.exceptions import CryptoError

from relay.zmtp import boxes
from relay.zmtp.boxes import MESSAGE, Boxes
from relay.zmtp.errors import ZmtpError
from relay.zmtp.frames import COMMAND, MORE, pack_command, pack_message
from relay.zmtp.reader import Bounds, ZmtpReader

KEY = bytes(range(32))
SIZES = st.sampled_from([0, 1, 200, 222, 223, 255, 256, 4_078, 4_079, 4_080, 70_000])
FRAMES = st.lists(SIZES.map(lambda size: b"x" * size), min_size=1, max_size=4)


def theirs(number: int, text: bytes, key: bytes = KEY) -> bytes:
    """A frame of the peer."""
    nonce = number.to_bytes(8, "big")
    return MESSAGE + nonce + sodium.crypto_box_afternm(text, b"CurveZMQMESSAGEC" + nonce, key)


def read(sealed: bytes) -> list[bytes]:
    """The frames on the connection."""
    reader = ZmtpReader(Bounds(200_000, 200_000, 1))
    reader.feed(sealed)
    found = []
    while messages := reader.read(100):
        found += [frame for [frame] in messages]
    assert reader.command is None
    return found


@pytest.fixture(params=["compiled", "pynacl"], autouse=True)
def _library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to libsodium: a later PyNaCl may have no module of that name."""
    if request.param == "pynacl":
        monkeypatch.setattr(boxes, "lib", None)


@pytest.mark.parametrize("frames", [[b"a"], [b"topic", b"x" * 33, b"y" * 4_100], [b"", b"z" * 250]])
def test_a_message_is_sealed_frame_by_frame(frames: list[bytes]) -> None:
    sealed = read(Boxes(KEY).seal(pack_message(frames)))
    for number, (frame, clear) in enumerate(zip(sealed, frames, strict=True), 1):
        nonce = number.to_bytes(8, "big")
        assert frame.startswith(MESSAGE + nonce)
        text = sodium.crypto_box_open_afternm(frame[16:], b"CurveZMQMESSAGES" + nonce, KEY)
        assert text == (b"\1" if number < len(frames) else b"\0") + clear


def test_a_command_is_sealed_as_one() -> None:
    [frame] = read(Boxes(KEY).seal(pack_command(b"PONG", b"context")))
    text = sodium.crypto_box_open_afternm(
        frame[16:], b"CurveZMQMESSAGES" + (1).to_bytes(8, "big"), KEY
    )
    assert text == b"\2\4PONGcontext"


@given(FRAMES)
def test_what_the_peer_has_sealed_is_opened(bodies: list[bytes]) -> None:
    sealed = [[theirs(number, b"\1" + body)] for number, body in enumerate(bodies, 3)]
    assert Boxes(KEY, received=2).open(sealed) == [(MORE, body) for body in bodies]


def test_flags_are_those_of_the_protocol() -> None:
    opened = Boxes(KEY).open([[theirs(1, b"\0a")], [theirs(2, b"\2b")], [theirs(3, b"\1c")]])
    assert opened == [(0, b"a"), (COMMAND, b"b"), (MORE, b"c")]


@pytest.mark.parametrize("size", [10, 70_000])
@pytest.mark.parametrize("place", [7, 15, 16, 40, -1])
def test_a_frame_of_which_one_bit_is_another_is_not_opened(size: int, place: int) -> None:
    frame = bytearray(theirs(1, b"\0" + bytes(size)))
    frame[place] ^= 1
    with pytest.raises(ZmtpError, match=r"frame cannot be decrypted|is not encrypted|comes again"):
        Boxes(KEY).open([[bytes(frame)]])


@pytest.mark.parametrize("frame", [b"", MESSAGE, MESSAGE + bytes(24), b"\7MESSAGF" + bytes(40)])
def test_a_frame_without_a_box_is_not_encrypted(frame: bytes) -> None:
    with pytest.raises(ZmtpError, match="is not encrypted"):
        Boxes(KEY).open([[frame]])


@pytest.mark.parametrize("again", [0, 1, 2])
def test_no_nonce_comes_again(again: int) -> None:
    mine = Boxes(KEY)
    mine.open([[theirs(1, b"\0a")], [theirs(2, b"\0b")]])
    with pytest.raises(ZmtpError, match="comes again"):
        mine.open([[theirs(again, b"\0c")]])


def test_a_box_of_the_handshake_has_a_later_nonce() -> None:
    mine = Boxes(KEY, received=1)
    box = sodium.crypto_box_afternm(b"text", b"CurveZMQINITIATE" + (1).to_bytes(8, "big"), KEY)
    with pytest.raises(CryptoError):
        mine.open_handshake(box, b"CurveZMQINITIATE", (1).to_bytes(8, "big"))
    sealed = mine.seal_handshake(b"text", b"CurveZMQREADY---")
    assert sealed[:8] == (1).to_bytes(8, "big")
    later = read(mine.seal(pack_message([b"x"])))
    assert later[0][8:16] == (2).to_bytes(8, "big")


def test_a_key_has_its_length() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Boxes(KEY[:-1])
