"""The errors of an emitter. A topic or event that breaks the protocol is a `WireError` instead."""

from relay.shared.settings import SettingsError
from relay.wire.errors import WireError


class EmitterError(Exception):
    """Base of the errors below."""


class OutboxFull(EmitterError):  # noqa: N818 - the name says what it is at every call site
    """The event was not taken: the outbox is at its bounds (protocol section 5)."""


class EmitterClosed(EmitterError):  # noqa: N818
    """The event was not taken: `close` was called, or another process has the spool now."""


class InvalidEvent(EmitterError, ValueError):  # noqa: N818
    """An event of `emit_many` cannot be emitted, so that none was; `index` says which one.

    `error` is the `WireError` that `emit` would have raised.
    """

    def __init__(self, index: int, error: WireError) -> None:
        super().__init__(f"event {index}: {error}")
        self.index = index
        self.error = error


class NotPermitted(EmitterError, PermissionError):  # noqa: N818
    """The event was not taken: the relay would refuse it, because of one `field` of it."""

    def __init__(self, field: str, text: str) -> None:
        super().__init__(f"{field}: {text}")
        self.field = field


class RelayUnavailable(EmitterError):  # noqa: N818
    """The relay did not answer in time."""


class RelayRefused(RelayUnavailable):
    """The relay answered with an error; `code` is one of those in protocol section 4."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"the relay refused: {text}")
        self.code = code


class SpoolUnavailable(EmitterError):  # noqa: N818
    """The event was not taken: the spool cannot be written; the disk may be full."""


class SpoolRefused(EmitterError, SettingsError):  # noqa: N818
    """A file that cannot be this emitter's spool; it was left unchanged. The text names it."""


class SpoolInUse(SpoolRefused):
    """A spool that another emitter has open."""
