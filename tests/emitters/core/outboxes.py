"""Events for the tests of `Outbox`, and outboxes that have some."""

from emitters.core.outbox import Outbox
from emitters.core.outgoing import Outgoing
from relay.wire.topics import parse_topic
from tests.emitters.core.stores import RecordingStore


def outgoing(topic: str, envelope: bytes = b"x") -> Outgoing:
    return Outgoing(parse_topic(topic), envelope)


def filled(count: int, store: RecordingStore | None = None) -> Outbox:
    """An outbox with `count` events, whose envelopes are their numbers."""
    outbox = Outbox(store=store)
    for number in range(1, count + 1):
        outbox.add([outgoing("event:a", b"%d" % number)])
    return outbox


def numbers(taken: tuple[int, list[Outgoing]]) -> list[int]:
    """The sequence numbers of `filled` events, which must be what they were taken as."""
    first, events = taken
    found = [int(event.envelope) for event in events]
    assert found == list(range(first, first + len(events)))
    return found
