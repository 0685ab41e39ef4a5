"""The first 64 bytes of each side (RFC 37)."""

from relay.zmtp.errors import ZmtpError

GREETING_BYTES = 64
VERSION = (3, 1)
_SIGNATURE = b"\xff" + bytes(8) + b"\x7f"
_MECHANISM = slice(12, 32)


def our_greeting(mechanism: bytes) -> bytes:
    """Return our greeting, as the server of `mechanism`."""
    as_server = b"\0" if mechanism == b"NULL" else b"\1"
    return _SIGNATURE + bytes(VERSION) + mechanism.ljust(20, b"\0") + as_server + bytes(31)


def check_greeting(received: bytes, mechanism: bytes) -> None:
    """Check as much of a greeting as has come. Raises `ZmtpError`.

    Peers of the protocol before 3.0 do not get far enough to be told.
    """
    if received[:1] not in (b"", b"\xff") or (len(received) > 9 and not received[9] & 1):
        raise ZmtpError("not_zmtp", "it does not speak ZMTP")
    if len(received) > 10 and received[10] < VERSION[0]:
        raise ZmtpError("old_zmtp", "it speaks a version of ZMTP before 3.0")
    theirs = received[_MECHANISM].rstrip(b"\0")
    if len(received) >= GREETING_BYTES and theirs != mechanism:
        name = theirs.decode("ascii", "backslashreplace")
        raise ZmtpError("wrong_mechanism", f"its security is {name!r}, not {mechanism.decode()!r}")
