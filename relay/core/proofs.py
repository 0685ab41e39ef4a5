"""The relay's proofs of its acknowledgements (protocol section 4).

Whoever may say hello may claim any number as acknowledged. The relay believes a claim beyond its
journal only with the proof that it gave with the acknowledgement itself.
"""

import hashlib
import struct
from collections.abc import Iterable
from hmac import compare_digest

from relay.core.emitters import Cursor, KnownEmitter

KEY_BYTES = 32
PROOF_BYTES = 16

_CLAIM = struct.Struct("!QQQ16s")


class Proofs:
    """Makes proofs with a secret key, and recognises them."""

    def __init__(self, key: bytes) -> None:
        # Copied for each proof, which is faster than to begin with the key.
        self._keyed = hashlib.blake2b(key=key, digest_size=PROOF_BYTES)

    def of(self, relay_epoch: int, emitter_id: bytes, emitter_epoch: int, sequence: int) -> bytes:
        """Return the proof that the journal had the events up to `sequence`.

        `relay_epoch` is the journal's at the acknowledgement, and `emitter_id` is the relay's own
        id of the emitter: so a proof is of no use to another peer.
        """
        digest = self._keyed.copy()
        digest.update(_CLAIM.pack(relay_epoch, emitter_epoch, sequence, emitter_id))
        return digest.digest()

    def epoch_of(self, claim: Cursor, proof: bytes | None, epochs: Iterable[int]) -> int | None:
        """Return under which of the relay's `epochs` the proof was given, None under none."""
        if proof is None:
            return None
        for epoch in epochs:
            made = self.of(epoch, claim.emitter_id, claim.epoch, claim.sequence)
            if compare_digest(made, proof):
                return epoch
        return None


def missing_events(claim: Cursor, known: KnownEmitter | None, *, knows_all: bool) -> int:
    """Return how many of the events that `claim` says are acknowledged the journal lacks.

    `known` is the emitter before it is admitted. With `knows_all`, the journal has forgotten no
    emitter.
    """
    if known is None:
        return claim.sequence if knows_all else 0
    if claim.epoch == known.epoch:
        return max(0, claim.sequence - known.committed)
    return claim.sequence if claim.epoch > known.epoch else 0
