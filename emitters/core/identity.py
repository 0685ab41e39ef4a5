"""The identity under which the relay knows an emitter (protocol section 5)."""

import hashlib
from typing import NamedTuple, Self

from relay.wire.header import EMITTER_ID_BYTES


class EmitterIdentity(NamedTuple):
    """A name, the id that stands for it on the wire, and the epoch of the sequence numbers."""

    name: str
    emitter_id: bytes
    epoch: int

    @classmethod
    def of(cls, name: str, epoch: int, suffix: str = "") -> Self:
        """Return the identity of `name`; with a `suffix`, one that no other emitter has."""
        digest = hashlib.blake2b(f"{name}{suffix}".encode(), digest_size=EMITTER_ID_BYTES)
        return cls(name, digest.digest(), epoch)
