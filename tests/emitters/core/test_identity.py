"""A name is a label, and identity is the process or the spool."""

from emitters.core.identity import EmitterIdentity, emitter_id_of_name


def test_each_process_has_an_id_of_its_own_under_the_same_name() -> None:
    identities = [EmitterIdentity.of_process("manager-1") for _ in range(3)]
    assert {each.name for each in identities} == {"manager-1"}
    assert len({each.emitter_id for each in identities}) == 3
    assert len({each.process for each in identities}) == 3


def test_processes_that_follow_each_other_on_a_spool_share_its_id() -> None:
    first, again = (EmitterIdentity.of_spool("manager-1", b"i" * 16) for _ in range(2))
    assert first.emitter_id == again.emitter_id == b"i" * 16
    assert first.process != again.process


def test_the_id_of_an_earlier_spool_never_changes() -> None:
    """The relay's journal knows it."""
    assert emitter_id_of_name("manager-1").hex() == "fe8182a92794839308287e28f0dd7dc6"
