"""The security mechanisms of a connection (RFC 37), as far as all of them are the same."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from relay.zmtp.errors import ZmtpError
from relay.zmtp.frames import pack_command, pack_metadata, unpack_metadata

OVERHEAD_BYTES = 33
"""By which an encrypted frame is longer than the one in it, at most."""
SOCKET_TYPE = b"Socket-Type"
COMPATIBLE = {
    b"XSUB": (b"PUB", b"XPUB"),
    b"XPUB": (b"SUB", b"XSUB"),
    b"ROUTER": (b"DEALER", b"REQ", b"ROUTER"),
}
"""Type of our socket to the types that may connect to it."""


class HandshakeStep(NamedTuple):
    """The answer of a mechanism to a command."""

    output: bytes
    is_done: bool = False
    """Whether messages follow, in both directions."""


class Mechanism(Protocol):
    """The handshake of one connection, and the form of its messages afterwards."""

    @property
    def name(self) -> bytes:
        """The name in the greeting."""

    @property
    def is_encrypted(self) -> bool:
        """Whether `seal` and `open` have to be called."""

    def handle(self, name: bytes, data: bytes) -> HandshakeStep:
        """Take a command of the handshake. Raises `ZmtpError`."""

    def seal(self, packed: bytes) -> bytes:
        """Encrypt messages of `pack_message`, or a command."""

    def open(self, frames: list[list[bytes]]) -> list[tuple[int, bytes]]:
        """Decrypt frames, each alone in its list; return flags and body. Raises `ZmtpError`."""


def our_metadata(socket_type: bytes) -> bytes:
    """Return the metadata of our socket."""
    return pack_metadata([(SOCKET_TYPE, socket_type)])


def check_metadata(data: bytes, socket_type: bytes) -> Mapping[bytes, bytes]:
    """Return the properties of a peer that connects to our `socket_type`. Raises `ZmtpError`."""
    try:
        properties = unpack_metadata(data)
    except ValueError as error:
        raise refusal("invalid_handshake", f"its metadata cannot be read: {error}") from None
    theirs = properties.get(SOCKET_TYPE.lower(), b"")
    if theirs not in COMPATIBLE[socket_type]:
        name = theirs[:16].decode("ascii", "backslashreplace")
        wanted = " or ".join(each.decode() for each in COMPATIBLE[socket_type])
        raise refusal("wrong_socket_type", f"it is a {name!r}, not {wanted}")
    return properties


def refusal(reason: str, text: str) -> ZmtpError:
    """Return the error of a handshake, with the command that tells the peer."""
    told = text.encode()[:255]
    return ZmtpError(reason, text, pack_command(b"ERROR", bytes((len(told),)) + told))
