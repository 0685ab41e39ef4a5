"""WebSocket frames for the checker, with the bytes that they were made of."""

from collections.abc import Iterator
from typing import NamedTuple

BINARY = 0x82
"""First byte of an unfragmented binary frame: FIN and opcode 2."""
IS_CONTROL = 0x08
"""Set in the first byte of a close, a ping and a pong."""

_LONG_SIZES = {126: 2, 127: 8}
"""Size byte to the number of further size bytes."""


class Message(NamedTuple):
    """One message in a buffer."""

    end: int
    """The end of the message in the buffer."""
    first: int
    """The first byte of its frame."""
    payload: bytes


def split_messages(buffer: bytes) -> Iterator[Message]:
    """Yield the complete frames in `buffer`."""
    begin = 0
    while (head := read_head(buffer, begin)) is not None:
        payload, size = head
        end = payload + size
        if end > len(buffer):
            return
        yield Message(end, buffer[begin], buffer[payload:end])
        begin = end


class Unwrapper:
    """Unwraps a protocol whose frames carry a stream of bytes, cut anywhere."""

    def __init__(self) -> None:
        self._rest = b""

    def take(self, data: bytes | memoryview) -> tuple[bytes, list[Message]]:
        """Return the payload of the complete frames, and the control frames among them."""
        buffer = self._rest + data
        payloads: list[bytes] = []
        controls: list[Message] = []
        end = 0
        for message in split_messages(buffer):
            end = message.end
            if message.first & IS_CONTROL:
                controls.append(message)
            else:
                payloads.append(message.payload)
        self._rest = buffer[end:]
        return b"".join(payloads), controls


def read_head(buffer: bytes, begin: int) -> tuple[int, int] | None:
    """Return begin and size of the payload of the frame at `begin`; None if the head is cut off."""
    if len(buffer) < begin + 2:
        return None
    size = buffer[begin + 1]
    payload = begin + 2 + _LONG_SIZES.get(size, 0)
    if payload > len(buffer):
        return None
    if size in _LONG_SIZES:
        size = int.from_bytes(buffer[begin + 2 : payload])
    return payload, size
