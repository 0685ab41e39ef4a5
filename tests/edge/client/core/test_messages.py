"""Messages of the golden vectors, as the application gets them."""

import pytest

from edge.client.core.messages import Gap, NewEpoch, Unrecovered, parse_event, parse_gap
from tests.relay.wire.vectors import case_name, vectors


@pytest.mark.parametrize("vector", vectors("messages")["events"], ids=case_name)
def test_an_event_of_the_vectors(vector: dict[str, dict[str, object]]) -> None:
    message = vector["message"]
    event = parse_event(message)
    for name in ("topic", "type", "data", "source", "emitted_at"):
        assert getattr(event, name) == message[name]
    assert event.offset == message.get("offset")
    assert event.stream == message.get("stream", event.topic.partition(":")[0])
    assert event.retained is message.get("retained", False)


def test_the_gap_of_the_vectors() -> None:
    gap = vectors("messages")["gap"]
    assert parse_gap(gap["message"]) == Gap("event", gap["from"], gap["to"], "retention")
    assert parse_gap({"type": "gap", "stream": "event"}) is None


def test_a_loss_reads_as_a_sentence() -> None:
    assert str(Gap("event", 3, 9, "retention")) == "events 3 to 9 of the stream 'event': retention"
    assert str(NewEpoch(2, 1)) == "the relay has a new epoch 2 after 1"
    assert str(Unrecovered("event:*")) == "some events of 'event:*'"
