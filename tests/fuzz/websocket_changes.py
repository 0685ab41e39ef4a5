"""WebSocket frames of a client, valid at first, and changed (RFC 6455; compressed: RFC 7692)."""

import zlib
from collections.abc import Callable, Sequence
from random import Random

from tests.fuzz.changes import SIZES, changed_bytes

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
FIN, RSV1 = 0x80, 0x40
BOMB = zlib.compressobj(9, wbits=-15)
BOMB_BYTES = (BOMB.compress(bytes(4 * 2**20)) + BOMB.flush(zlib.Z_SYNC_FLUSH)).removesuffix(
    b"\0\0\xff\xff"
)
"""Four mebibytes of zeros."""
CLOSES = (
    b"",
    b"\x03",
    b"\x03\xe8",
    b"\x03\xe8bye",
    b"\x03\xed",
    b"\x0f\xa1",
    b"\xff\xff",
    b"\x03\xe8\xff\xfe",
    b"\x03\xe8" + b"x" * 123,
)


def frame(
    opcode: int,
    payload: bytes,
    *,
    first: int = FIN,
    mask: bytes | None = b"\x01\x02\x03\x04",
    size: int | None = None,
    wide: bool = False,
) -> bytes:
    """Return one frame; `first` has FIN and the reserved bits, and `size` may lie."""
    size = len(payload) if size is None else size
    masked = 0 if mask is None else 0x80
    if size < 126 and not wide:
        head = bytes((first | opcode, masked | size))
    elif size < 2**16 and not wide:
        head = bytes((first | opcode, masked | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((first | opcode, masked | 127)) + (size % 2**64).to_bytes(8, "big")
    if mask is None:
        return head + payload
    key = (mask * (len(payload) // 4 + 1))[: len(payload)]
    body = bytes(one ^ other for one, other in zip(payload, key, strict=True))
    return head + mask + body


def deflated(payload: bytes) -> bytes:
    """Return the payload as a message that is compressed by itself."""
    packer = zlib.compressobj(wbits=-15)
    data = packer.compress(payload) + packer.flush(zlib.Z_SYNC_FLUSH)
    return data.removesuffix(b"\0\0\xff\xff")


def changed_message(chance: Random, texts: Sequence[bytes]) -> bytes:
    """Return the frames of a message with one of the texts, most often rightly."""
    return chance.choice(_MESSAGES)(chance, chance.choice(texts))


def _plain(_chance: Random, text: bytes) -> bytes:
    return frame(TEXT, text)


def _compressed(_chance: Random, text: bytes) -> bytes:
    return frame(TEXT, deflated(text), first=FIN | RSV1)


def _badly_compressed(chance: Random, text: bytes) -> bytes:
    data = changed_bytes(chance, deflated(text), [text, BOMB_BYTES[:50]])
    return frame(TEXT, data, first=FIN | RSV1)


def _bomb(chance: Random, text: bytes) -> bytes:
    data = BOMB_BYTES + chance.choice((b"", deflated(text)))
    return (
        fragmented(chance, data, RSV1) if chance.random() < 0.5 else frame(TEXT, data, first=0xC0)
    )


def _fragments(chance: Random, text: bytes) -> bytes:
    return fragmented(chance, text, 0)


def _compressed_fragments(chance: Random, text: bytes) -> bytes:
    return fragmented(chance, deflated(text), RSV1)


def fragmented(chance: Random, data: bytes, reserved: int) -> bytes:
    """Return the data in fragments, with control frames and faults between them."""
    cuts = sorted(chance.randint(0, len(data)) for _ in range(chance.randint(1, 5)))
    parts = [data[first:last] for first, last in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    found = []
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        opcode = TEXT if number == 0 else 0
        if chance.random() < 0.03:
            opcode = chance.choice((0, TEXT, BINARY))
        bits = (FIN if last else 0) | (reserved if number == 0 else 0)
        found.append(frame(opcode, part, first=bits))
        if not last and chance.random() < 0.3:
            found.append(_control(chance, b"between"))
    return b"".join(found)


def _control(chance: Random, text: bytes) -> bytes:
    opcode = chance.choice((PING, PING, PONG))
    if chance.random() < 0.05:
        return frame(opcode, text * 20, first=chance.choice((0, FIN, FIN | RSV1)))
    return frame(opcode, text[: chance.randint(0, 125)])


def _close(chance: Random, _text: bytes) -> bytes:
    return frame(CLOSE, chance.choice(CLOSES))


def _binary(_chance: Random, text: bytes) -> bytes:
    return frame(BINARY, text)


def _not_text(chance: Random, text: bytes) -> bytes:
    at = chance.randint(0, len(text))
    return frame(
        TEXT, text[:at] + chance.choice((b"\xff", b"\xc0\x80", b"\xed\xa0\x80")) + text[at:]
    )


def _lying_size(chance: Random, text: bytes) -> bytes:
    return frame(TEXT, text, size=chance.choice(SIZES), wide=chance.random() < 0.5)


def _reserved(chance: Random, text: bytes) -> bytes:
    return frame(
        chance.randrange(16), text[:125], first=chance.choice((0x90, 0xA0, 0xC0, 0xF0, 0x80))
    )


def _unmasked(_chance: Random, text: bytes) -> bytes:
    return frame(TEXT, text, mask=None)


def _bytes(chance: Random, text: bytes) -> bytes:
    return changed_bytes(chance, frame(TEXT, text), [frame(PING, b""), frame(CLOSE, b"\x03\xe8")])


_VALID = (_plain, _compressed, _fragments, _compressed_fragments, _control)
_WRONG = (
    _badly_compressed,
    _bomb,
    _close,
    _binary,
    _not_text,
    _lying_size,
    _reserved,
    _unmasked,
    _bytes,
)
_MESSAGES: tuple[Callable[[Random, bytes], bytes], ...] = (*_VALID * 4, *_WRONG)
"""A wrong one ends the connection: most are right, so that there are others before it."""
