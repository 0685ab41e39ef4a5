"""The hello of an emitter says how far its events have come."""

from emitters.core.greeting import Greeting
from emitters.core.identity import EmitterIdentity
from relay.wire.control import HelloRequest
from tests.emitters.core.outboxes import filled
from tests.emitters.core.stores import RecordingStore

IDENTITY = EmitterIdentity("manager-1", b"e" * 16, b"p" * 16)


def test_it_names_the_last_acknowledged_number_with_its_proof() -> None:
    store = RecordingStore()
    outbox = filled(3, store)
    outbox.keep_epoch(5)
    outbox.take_unsent(3)
    outbox.acknowledge(2, b"proof of 2")
    greeting = Greeting.of(outbox, 7)
    assert greeting == Greeting(2, b"proof of 2", 5, 0, 7)
    outbox.acknowledge(3, b"proof of 3")
    assert greeting.request(9, IDENTITY) == HelloRequest(
        id=9,
        role="emitter",
        name="manager-1",
        emitter_id=b"e" * 16,
        emitter_epoch=5,
        process=b"p" * 16,
        acknowledged=2,
        proof=b"proof of 2",
        epoch=7,
    )


def test_a_new_emitter_has_neither_epochs_nor_proof() -> None:
    request = Greeting.of(filled(1), None).request(9, IDENTITY)
    assert request.model_dump(exclude_none=True).keys() == {
        *("op", "id", "protocol", "role", "name", "emitter_id", "process", "acknowledged"),
    }


def test_a_spool_says_what_it_has_inherited() -> None:
    assert Greeting(2, None, 5, 4, None).request(9, IDENTITY).inherited == 4
