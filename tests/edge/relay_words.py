"""The words of a relay to an edge."""

import msgpack

from relay.wire.control import Heartbeat, ReplayReply
from relay.wire.header import Stamp, pack_stamp

EPOCH = 7


def heartbeat(event: int, task: int = 20, low: int = 1) -> Heartbeat:
    return Heartbeat(
        tips={"event": event, "task": task, "addressed": 0, "revocation": 0},
        low={"event": low, "task": 1, "addressed": 1, "revocation": 1},
        started_at=1,
        journaling=True,
    )


def replay(
    *items: tuple[bytes, bytes, bytes], low: int = 1, tip: int = 30, epoch: int = EPOCH
) -> ReplayReply:
    return ReplayReply(id=1, epoch=epoch, items=items, low=low, tip=tip)


def frames(
    topic: str, offset: int, data: object = None, relayed_at: int = 1, username: str | None = None
) -> tuple[bytes, bytes, bytes]:
    fields = {"type": "any", "data": data or {}, "source": "m", "emitted_at": 1, "id": "x"}
    if username is not None:
        fields["username"] = username
    stamp = pack_stamp(Stamp(EPOCH, offset, relayed_at))
    return topic.encode(), stamp, msgpack.packb(fields)
