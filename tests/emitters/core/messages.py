"""Events of an emitter and messages of a relay, for the tests of the dialogue between them."""

from emitters.core.dialogue import Dialogue
from emitters.core.outgoing import Outgoing
from relay.wire.control import HelloReply
from relay.wire.topics import parse_topic

EPOCH = 5
KINDS = ("event", "task")


def outgoing(number: int) -> Outgoing:
    return Outgoing(parse_topic("event:a"), b"%d" % number)


def accepting(
    sequence: int, kinds: tuple[str, ...] = KINDS, *, drops: int | None = None
) -> HelloReply:
    return HelloReply(
        id=1,
        epoch=1,
        journaled_kinds=kinds,
        tips={},
        heartbeat_s=1.0,
        sequence=sequence,
        emitter_epoch=EPOCH,
        drops=drops,
    )


def subscribe(dialogue: Dialogue, *kinds: str) -> None:
    for kind in kinds:
        dialogue.on_subscription(b"\x01" + f"{kind}:".encode())


def unsubscribe(dialogue: Dialogue, *kinds: str) -> None:
    for kind in kinds:
        dialogue.on_subscription(b"\x00" + f"{kind}:".encode())
