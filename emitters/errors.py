"""What can go wrong at an emitter. What is wrong with a message itself is a `WireError`."""


class EmitterError(Exception):
    """Base of the errors below."""


class OutboxFull(EmitterError):  # noqa: N818 - the name says what it is at every call site
    """The event was not taken: too much waits for the relay already (protocol section 5)."""


class EmitterClosed(EmitterError):  # noqa: N818
    """The event was not taken: `close` was called before."""


class RelayUnavailable(EmitterError):  # noqa: N818
    """The relay did not answer in time."""
