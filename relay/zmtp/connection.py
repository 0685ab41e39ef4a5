"""`ZmtpConnection`: one connection, from its first byte to the messages of its peer."""

from enum import Enum, auto

from relay.zmtp.errors import ZmtpError
from relay.zmtp.frames import COMMAND, pack_command, split_command
from relay.zmtp.greeting import GREETING_BYTES, check_greeting, our_greeting
from relay.zmtp.mechanism import OVERHEAD_BYTES, Mechanism
from relay.zmtp.reader import Bounds, ZmtpReader

MAX_PING_CONTEXT_BYTES = 16
MAX_COMMANDS_AT_ONCE = 64
"""Of those that are no messages, such as pings; then the other connections have their turn."""
MAX_UNKNOWN_COMMANDS = 1_000
"""Of one connection. A later version of the protocol may have a few; more are a flood."""
SUBSCRIBE = b"\x01"
CANCEL = b"\x00"
COMMAND_BYTES = len(b"\x09SUBSCRIBE")
"""By which a subscription that is a command is longer than one that is a message."""


class Phase(Enum):
    """The part of a connection in which the peer is."""

    GREETING = auto()
    HANDSHAKE = auto()
    OPEN = auto()


class ZmtpConnection:
    """Bytes in, messages out; `take_output` has the bytes to be sent.

    After a `ZmtpError` the connection is of no use.
    """

    def __init__(self, mechanism: Mechanism, bounds: Bounds) -> None:
        self._mechanism = mechanism
        self._reader = ZmtpReader(_encrypted(bounds) if mechanism.is_encrypted else bounds)
        self._bounds = bounds
        self._phase = Phase.GREETING
        self._greeting = b""
        self._output = our_greeting(mechanism.name)
        self._frames: list[bytes] = []
        """Decrypted frames of a message that is not complete."""
        self._unknown_commands = 0

    @property
    def is_open(self) -> bool:
        """Whether the handshake is over: messages may be sent."""
        return self._phase is Phase.OPEN

    @property
    def is_in_handshake(self) -> bool:
        """Whether the peer has begun its greeting, and the handshake is not over."""
        return self._phase is Phase.HANDSHAKE or self._greeting != b""

    @property
    def waiting_bytes(self) -> int:
        """The bytes in memory for messages that are not complete."""
        return self._reader.waiting_bytes + sum(map(len, self._frames))

    @property
    def has_more(self) -> bool:
        """Whether `read` may return messages without another `receive`."""
        return self._phase is not Phase.GREETING and self._reader.has_more()

    def receive(self, data: bytes) -> None:
        """Take bytes of the peer. Raises `ZmtpError`."""
        if self._phase is Phase.GREETING:
            self._greeting += data
            check_greeting(self._greeting, self._mechanism.name)
            if len(self._greeting) < GREETING_BYTES:
                return
            data, self._greeting = self._greeting[GREETING_BYTES:], b""
            self._phase = Phase.HANDSHAKE
        self._reader.feed(data)

    def read(self, most: int) -> list[list[bytes]]:
        """Return the next messages of the peer, at most `most`, each the list of its frames.

        It may return none although `has_more`: commands have their limit as well.
        A subscription is a message, as in ZMTP 3.0: its first byte is 1, or 0 at its end. Raises
        `ZmtpError`.
        """
        reader = self._reader
        messages: list[list[bytes]] = []
        for _ in range(MAX_COMMANDS_AT_ONCE):
            if self._phase is Phase.OPEN:
                found = reader.read(most - len(messages))
                messages += self._opened(found) if self._mechanism.is_encrypted else found
            elif reader.read(1) or reader.has_begun:
                raise ZmtpError("invalid_handshake", "a message came before the handshake ended")
            command = reader.take_command()
            if command is None:
                break
            if (message := self._obey(command)) is not None:
                messages.append(message)
            if len(messages) >= most:
                break
        return messages

    @property
    def is_encrypted(self) -> bool:
        """Whether messages have to be sealed."""
        return self._mechanism.is_encrypted

    def seal(self, packed: bytes) -> bytes:
        """Return the bytes to be sent for a message of `pack_message`."""
        return self._mechanism.seal(packed)

    def take_output(self) -> bytes:
        """Return the bytes that are to be sent before any message."""
        output, self._output = self._output, b""
        return output

    def _obey(self, body: bytes) -> list[bytes] | None:
        """Take a command; return the message that it stands for, if it does."""
        name, data = split_command(body)
        if self._phase is Phase.OPEN:
            if self._mechanism.is_encrypted:
                # It need not be the peer's: somebody on the way could have added it.
                raise ZmtpError("invalid_frame", "a command is not encrypted")
            return self._obey_in_traffic(name, data)
        answer = self._mechanism.handle(name, data)
        self._output += answer.output
        if answer.is_done:
            self._phase = Phase.OPEN
        return None

    def _obey_in_traffic(self, name: bytes, data: bytes) -> list[bytes] | None:
        match name:
            case b"SUBSCRIBE":
                return [SUBSCRIBE + data]
            case b"CANCEL":
                return [CANCEL + data]
            case b"PING":
                # Behind the name, two bytes say for how long the peer waits.
                context = data[2 : 2 + MAX_PING_CONTEXT_BYTES]
                self._output += self._mechanism.seal(pack_command(b"PONG", context))
            case b"ERROR":
                raise ZmtpError("ended_by_peer", "it has sent an error")
            case _:
                self._unknown_commands += 1
                if self._unknown_commands > MAX_UNKNOWN_COMMANDS:
                    text = f"it has sent {MAX_UNKNOWN_COMMANDS} commands that nobody knows"
                    raise ZmtpError("unknown_commands", text)
        return None

    def _opened(self, found: list[list[bytes]]) -> list[list[bytes]]:
        """Return the messages in encrypted frames. Raises `ZmtpError`."""
        messages: list[list[bytes]] = []
        frames, max_frames = self._frames, self._bounds.frames
        # The bytes of a message that is not complete.
        size, max_bytes = sum(map(len, frames)), self._bounds.kept_bytes
        for flags, body in self._mechanism.open(found):
            if not flags:
                frames.append(body)
                messages.append(frames)
                frames, size = [], 0
            elif flags & COMMAND:
                message = self._obey_in_traffic(*split_command(body))
                messages += [] if message is None else [message]
            else:
                frames.append(body)
                size += len(body)
                if len(frames) >= max_frames:
                    raise ZmtpError("too_many_frames", f"a message has over {max_frames} frames")
                if size > max_bytes:
                    raise ZmtpError("too_large", f"a message has over {max_bytes} bytes")
        self._frames = frames
        return messages


def _encrypted(bounds: Bounds) -> Bounds:
    """Return the bounds of the frames on the connection. None can be read before it is whole."""
    size = bounds.kept_bytes + COMMAND_BYTES + OVERHEAD_BYTES
    return Bounds(size, size, 1)
