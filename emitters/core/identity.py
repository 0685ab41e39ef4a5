"""The identity under which the relay knows an emitter (protocol section 5)."""

import hashlib
import secrets
from typing import NamedTuple, Self

from relay.wire.control import PROCESS_BYTES
from relay.wire.header import EMITTER_ID_BYTES


class EmitterIdentity(NamedTuple):
    """A label, the id under which the relay counts the events, and a random number of the process.

    The name is the `source` of the events, and any number of emitters may have it. The epoch of the
    sequence numbers comes from the relay or the spool (`emitters.core.dialogue`).
    """

    name: str
    emitter_id: bytes
    process: bytes

    @classmethod
    def of_process(cls, name: str) -> Self:
        """Return an identity that no other emitter has."""
        return cls.of_spool(name, new_emitter_id())

    @classmethod
    def of_spool(cls, name: str, emitter_id: bytes) -> Self:
        """Return the identity of the process that now has a spool: its id is that of the spool."""
        return cls(name, emitter_id, secrets.token_bytes(PROCESS_BYTES))


def new_emitter_id() -> bytes:
    """Return a random id."""
    return secrets.token_bytes(EMITTER_ID_BYTES)


def emitter_id_of_name(name: str) -> bytes:
    """Return the id of a spool that was made when names were identities."""
    return hashlib.blake2b(name.encode(), digest_size=EMITTER_ID_BYTES).digest()
