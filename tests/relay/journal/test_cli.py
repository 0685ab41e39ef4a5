"""The JSON lines of `event-relay journal tail`."""

from relay.journal.cli import as_message
from relay.journal.reader import JournaledEvent
from relay.wire.envelope import Envelope, pack_envelope
from tests.relay.journal.journals import NOW_MS, event


def test_an_event_is_shown_as_clients_see_it_with_its_emitters_number() -> None:
    task = JournaledEvent(1, NOW_MS + 10, event(10, topic="task:1"))
    assert as_message(task, "task") == {
        "type": "any",
        "topic": "task:1",
        "data": {"n": 10, "padding": ""},
        "username": "alice",
        "source": "manager-1",
        "emitted_at": NOW_MS,
        "offset": 1,
        "relayed_at": NOW_MS + 10,
        "sequence": 10,
    }


def test_a_plain_event_has_no_sequence_and_maybe_no_user() -> None:
    envelope = pack_envelope(Envelope("event", {}, None, "", 5, "id"), "event")
    plain = JournaledEvent(10, NOW_MS, (b"event:plain", b"", envelope))
    assert as_message(plain, "event").keys().isdisjoint({"sequence", "username"})
