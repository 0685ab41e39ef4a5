"""Ids of events that the relay takes once, however often they are sent (protocol section 3)."""

import hashlib

from relay.wire.errors import InvalidEnvelope

ONCE = "once:"
"""Begins such an id."""
KEY_BYTES = 16


def once_id(key: str) -> str:
    """Return the id of the event that `key` stands for. Raises `InvalidEnvelope`."""
    if not isinstance(key, str):
        raise InvalidEnvelope("once", f"must be text, not {type(key).__name__}")
    digest = hashlib.blake2b(key.encode(errors="surrogatepass"), digest_size=KEY_BYTES)
    return f"{ONCE}{digest.hexdigest()}"


def is_once(event_id: str) -> bool:
    """Return whether the relay takes an event with this id once."""
    return event_id.startswith(ONCE)


def once_digest(event_id: str) -> bytes:
    """Return the form in which the relay remembers an id."""
    return hashlib.blake2b(event_id.encode(), digest_size=KEY_BYTES).digest()
