"""The id that stands for a name on the wire never changes: the relay's journal knows it."""

from emitters.core.identity import EmitterIdentity


def test_the_id_is_the_digest_of_the_name() -> None:
    first, again = EmitterIdentity.of("manager-1"), EmitterIdentity.of("manager-1")
    assert first.emitter_id.hex() == "fe8182a92794839308287e28f0dd7dc6"
    assert first.emitter_id == again.emitter_id
    assert first.name == "manager-1"
    assert first.process != again.process, "each is a process of its own"


def test_a_suffix_makes_another_id_of_the_same_name() -> None:
    shared = EmitterIdentity.of("shell", "/1")
    assert shared.name == "shell"
    assert shared.emitter_id not in (
        EmitterIdentity.of("shell").emitter_id,
        EmitterIdentity.of("shell", "/2").emitter_id,
    )
