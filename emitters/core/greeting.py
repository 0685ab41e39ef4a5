"""`Greeting`: the words of an emitter's hello about its events (protocol section 4)."""

from typing import NamedTuple, Self

from emitters.core.identity import EmitterIdentity
from emitters.core.outbox import Outbox
from relay.wire.control import HelloRequest


class Greeting(NamedTuple):
    """How far the events have come, at the moment of the hello."""

    acknowledged: int
    proof: bytes | None
    """The relay's, of that number."""
    epoch: int
    """Of the sequence numbers, 0 until the relay has handed it out."""
    inherited: int
    """The last number of an event of an earlier process, 0 without a spool."""
    relay_epoch: int | None
    """The relay's epoch, as far as it is known."""

    @classmethod
    def of(cls, outbox: Outbox, relay_epoch: int | None) -> Self:
        """Return the greeting for the events of `outbox`."""
        identity = outbox.acknowledged, outbox.proof, outbox.epoch, outbox.inherited
        return cls(*identity, relay_epoch)

    def request(self, key: int, identity: EmitterIdentity) -> HelloRequest:
        """Return the hello of the emitter `identity`, with the id `key`."""
        return HelloRequest(
            id=key,
            role="emitter",
            name=identity.name,
            emitter_id=identity.emitter_id,
            emitter_epoch=self.epoch or None,
            process=identity.process,
            acknowledged=self.acknowledged,
            proof=self.proof,
            epoch=self.relay_epoch,
            inherited=self.inherited or None,
        )
