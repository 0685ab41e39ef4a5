"""The identity under which the relay knows an emitter (protocol section 5)."""

import hashlib
import secrets
from typing import NamedTuple, Self

from relay.wire.control import PROCESS_BYTES
from relay.wire.header import EMITTER_ID_BYTES


class EmitterIdentity(NamedTuple):
    """A name, the id that stands for it on the wire, and a random number of this process.

    The epoch of the sequence numbers comes from the relay or the spool (`emitters.core.dialogue`).
    """

    name: str
    emitter_id: bytes
    process: bytes

    @classmethod
    def of(cls, name: str, suffix: str = "") -> Self:
        """Return the identity of `name`; with a `suffix`, one that no other emitter has."""
        digest = hashlib.blake2b(f"{name}{suffix}".encode(), digest_size=EMITTER_ID_BYTES)
        return cls(name, digest.digest(), secrets.token_bytes(PROCESS_BYTES))
