"""`ZmtpReader`: cuts the bytes of one connection into messages, within bounds.

Bytes are fed as they arrive, and messages are read as far as their number is wanted; the rest stays
as bytes. A frame that is not complete yet is collected once and never copied again, so that a peer
that sends byte by byte costs no more than any other.
"""

from typing import NamedTuple

from relay.zmtp.errors import ZmtpError
from relay.zmtp.frames import COMMAND, LONG, MORE

SMALL_BYTES = 4096
"""An incomplete frame up to this size waits among the unread bytes; a larger one by itself."""
MAX_COMMAND_BYTES = 2048
"""Of a handshake, a subscription, or a ping. Metadata may have some properties of applications."""


class Bounds(NamedTuple):
    """The bounds of one connection's messages."""

    kept_bytes: int
    """Of a larger message, the frames that are read end after about so many bytes."""
    frame_bytes: int
    """A peer that sends a larger frame is cut off."""
    frames: int
    """A peer that sends a message of more frames is cut off."""


class ZmtpReader:
    """Takes bytes by `feed`, gives messages by `read`.

    A message is the list of its frames. `read` stops at a command, whose body is then in `command`
    until `take_command`.
    """

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._unread = b""
        self._position = 0
        """In `_unread`: where the next frame begins."""
        self._frames: list[bytes] = []
        """Of the message that is not complete."""
        self._large: bytearray | None = None
        """The incomplete frame, if it is a large one; not more of it than is kept."""
        self._large_flags = 0
        self._missing_bytes = 0
        """Of the large frame."""
        self._kept_bytes = 0
        """So much of the large frame is kept."""
        self.command: bytes | None = None

    @property
    def has_begun(self) -> bool:
        """Whether a part of a message has come."""
        return bool(self._frames) or self._large is not None

    @property
    def waiting_bytes(self) -> int:
        """The bytes in memory for this connection."""
        large = 0 if self._large is None else len(self._large)
        return large + len(self._unread) - self._position + sum(map(len, self._frames))

    def feed(self, data: bytes) -> None:
        """Take bytes of the connection."""
        if self._large is not None:
            data = self._feed_large(self._large, data)
        rest = self._unread[self._position :]
        self._unread = rest + data if rest else data
        self._position = 0

    def read(self, most: int) -> list[list[bytes]]:
        """Return the next messages, at most `most`. Raises `ZmtpError`."""
        messages: list[list[bytes]] = []
        if self.command is not None or self._missing_bytes:
            return messages
        if self._large is not None:
            self._end_large(self._large, messages)
        # Local names: this loop runs for every received frame.
        data, position, frames = self._unread, self._position, self._frames
        end, max_frames = len(data), self._bounds.frames
        while position + 2 <= end and len(messages) < most:
            flags = data[position]
            if flags < LONG:
                start = position + 2
                stop = start + data[position + 1]
            else:
                start, size = self._head(data, position)
                if start > end:
                    break
                stop = start + size
            if stop > end:
                if stop - start > SMALL_BYTES:
                    self._begin_large(flags, stop - start, data[start:])
                    position = end
                break
            position = stop
            if flags & COMMAND:
                self.command = data[start:stop]
                break
            frames.append(data[start:stop])
            if flags & MORE:
                if len(frames) >= max_frames:
                    raise ZmtpError("too_many_frames", f"a message has over {max_frames} frames")
                continue
            messages.append(frames)
            frames = []
        self._position, self._frames = position, frames
        self._shrink()
        return messages

    def _shrink(self) -> None:
        """Forget what was read: a small rest must not keep all that came with it in memory."""
        if not self.has_more():
            self._unread, self._position = self._unread[self._position :], 0

    def take_command(self) -> bytes | None:
        """Return the command at which `read` has stopped."""
        command, self.command = self.command, None
        return command

    def has_more(self) -> bool:
        """Return whether another `read` may return something without another `feed`."""
        if self._large is not None:
            return not self._missing_bytes
        return self.command is not None or _has_frame(self._unread, self._position)

    def _head(self, data: bytes, position: int) -> tuple[int, int]:
        """Return where the body of a frame with any flags begins, and its size."""
        flags = data[position]
        if flags > 7 or (flags & COMMAND and flags & MORE):
            raise ZmtpError("invalid_frame", f"the flags of a frame are {flags}")
        start = position + (9 if flags & LONG else 2)
        size = int.from_bytes(data[position + 1 : start], "big")
        limit = MAX_COMMAND_BYTES if flags & COMMAND else self._bounds.frame_bytes
        if size > limit and start <= len(data):
            raise ZmtpError("too_large", f"a frame has {size} bytes, the limit is {limit}")
        return start, size

    def _begin_large(self, flags: int, size: int, begin: bytes) -> None:
        kept = self._bounds.kept_bytes + 1 - sum(map(len, self._frames))
        self._kept_bytes = max(0, min(size, kept))
        self._large = bytearray(begin[: self._kept_bytes])
        self._large_flags = flags
        self._missing_bytes = size - len(begin)

    def _feed_large(self, large: bytearray, data: bytes) -> bytes:
        """Add to the large frame; return the bytes behind it."""
        part = data[: self._missing_bytes]
        self._missing_bytes -= len(part)
        large += part[: self._kept_bytes - len(large)]
        return data[len(part) :]

    def _end_large(self, large: bytearray, messages: list[list[bytes]]) -> None:
        self._large = None
        self._frames.append(bytes(large))
        if not self._large_flags & MORE:
            messages.append(self._frames)
            self._frames = []
        elif len(self._frames) >= self._bounds.frames:
            limit = self._bounds.frames
            raise ZmtpError("too_many_frames", f"a message has over {limit} frames")


def _has_frame(data: bytes, position: int) -> bool:
    if position + 2 > len(data):
        return False
    if not data[position] & LONG:
        return position + 2 + data[position + 1] <= len(data)
    start = position + 9
    size = int.from_bytes(data[position + 1 : start], "big")
    # A large one is collected by the next `read`; the same holds for one that breaks a bound.
    return start <= len(data) and (start + size <= len(data) or size > SMALL_BYTES)
