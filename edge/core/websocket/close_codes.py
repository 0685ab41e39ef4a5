"""The one table of close codes (protocol section 7)."""

import math
from enum import Enum, StrEnum
from typing import NamedTuple

MAX_REASON_BYTES = 123
"""A close frame holds no more (RFC 6455, section 5.5)."""


class Close(NamedTuple):
    """The code and the reason in a close frame."""

    code: int
    reason: str


class CloseCode(Enum):
    """Code, meaning, advice to the client, and the code for clients that know no others."""

    GOING_AWAY = (1001, "edge is shutting down", "reconnect after a random delay, resume", 1012)
    PROTOCOL_ERROR = (1002, "broken WebSocket frame", "stop: a bug in the client")
    UNSUPPORTED_DATA = (1003, "binary message", "stop: a bug in the client")
    INVALID_TEXT = (1007, "bad UTF-8", "stop: a bug in the client")
    TOO_LARGE = (1009, "message too large", "stop: a bug in the client")
    NOT_AUTHENTICATED = (1008, "not authenticated", "get a new token first")
    TOKEN_EXPIRED = (4001, "token expired", "get a new token, reconnect, resume", 1008)
    DISCONNECTED = (4003, "disconnected by the application", "get a new token first", 1008)
    TOO_SLOW = (4008, "too slow", "reconnect, resume", 1013)
    TOO_MANY_CONNECTIONS = (4009, "too many connections", "reconnect later", 1013)
    TRY_AGAIN_LATER = (
        4013,
        "edge has lost the relay or is overloaded",
        "reconnect after the delay in the reason",
        1013,
    )
    TOO_MANY_MESSAGES = (4029, "too many messages", "reconnect later", 1013)

    def __init__(self, code: int, meaning: str, advice: str, legacy: int | None = None) -> None:
        self.code = code
        self.meaning = meaning
        self.advice = advice
        self.legacy = code if legacy is None else legacy

    def close(self, reason: str | None = None) -> Close:
        """Return the content of the close frame; `reason` defaults to the meaning."""
        return Close(self.code, self.meaning if reason is None else reason)


_LEGACY = {row.code: row.legacy for row in CloseCode}


class CloseCodes(StrEnum):
    """The codes in close frames. Counters and logs have those of `CloseCode` in either case."""

    STANDARD = "standard"
    LEGACY = "legacy"
    """Registered codes alone (RFC 6455 and IANA): some front ends do not come back after others."""

    def on_wire(self, close: Close) -> Close:
        """Return the content of the close frame for `close`."""
        if self is CloseCodes.STANDARD:
            return close
        return Close(_LEGACY.get(close.code, close.code), close.reason)


def try_again(reason: str, seconds: float) -> Close:
    """Return 4013 with `reason` and the seconds after which the client should come back.

    Clients add up to as much again by chance: all that were closed at once return spread out.
    """
    return CloseCode.TRY_AGAIN_LATER.close(f"{reason}, retry in {math.ceil(seconds)} s")


MISSING_AUTHENTICATION = CloseCode.NOT_AUTHENTICATED.close("Missing authentication message")
MISSING_TOKEN = CloseCode.NOT_AUTHENTICATED.close("Missing token")
INVALID_TOKEN = CloseCode.NOT_AUTHENTICATED.close("Invalid token")
TOKEN_REVOKED = CloseCode.NOT_AUTHENTICATED.close("Token revoked")
AUTHENTICATION_TIMEOUT = CloseCode.NOT_AUTHENTICATED.close("Authentication timeout")
