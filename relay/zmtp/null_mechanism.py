"""The mechanism `NULL`: both sides say what they are, and nothing is encrypted (RFC 37)."""

from relay.zmtp.errors import ZmtpError
from relay.zmtp.frames import pack_command
from relay.zmtp.mechanism import HandshakeStep, check_metadata, our_metadata, refusal


class NullMechanism:
    """One handshake; see `Mechanism`."""

    name = b"NULL"
    is_encrypted = False

    def __init__(self, socket_type: bytes, refused: str = "") -> None:
        """`refused` is the reason for which the peer may not connect, if there is one."""
        self._socket_type = socket_type
        self._refused = refused

    def handle(self, name: bytes, data: bytes) -> HandshakeStep:
        """Take `READY` and answer with ours."""
        if name != b"READY":
            raise refusal("invalid_handshake", "the first command is not READY")
        check_metadata(data, self._socket_type)
        if self._refused:
            raise refusal("not_admitted", self._refused)
        return HandshakeStep(pack_command(b"READY", our_metadata(self._socket_type)), is_done=True)

    def seal(self, packed: bytes) -> bytes:
        """Return `packed` as it is."""
        return packed

    def open(self, frames: list[list[bytes]]) -> list[tuple[int, bytes]]:
        """Messages are not encrypted."""
        raise ZmtpError("invalid_frame", f"{len(frames)} frames are not encrypted")
