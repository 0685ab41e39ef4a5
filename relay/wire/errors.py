"""The errors of bytes and values on the wire.

A `WireError` is always the fault of the message's producer. Its `reason` is the short, stable name
under which it is counted; its text is for people.
"""


class WireError(ValueError):
    """A message that breaks the protocol."""

    reason = "malformed"


class InvalidTopic(WireError):  # noqa: N818 - clear without a suffix
    """A topic or subscription pattern that is not well formed (protocol section 2)."""

    reason = "invalid_topic"


class InvalidEnvelope(WireError):  # noqa: N818
    """An envelope field that is missing or of the wrong shape (protocol section 3).

    `field` is the path of the offending field, for example `data.players[2]`.
    """

    reason = "invalid_envelope"

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


class TooLarge(InvalidEnvelope):
    """An envelope above `MAX_ENVELOPE_BYTES`."""

    reason = "too_large"


class TooDeep(InvalidEnvelope):
    """Payload nested deeper than `MAX_DEPTH`."""

    reason = "too_deep"


class InvalidFrame(WireError):  # noqa: N818
    """A header, stamp or control frame that is not of the documented layout, or a stray frame."""

    reason = "invalid_frame"
