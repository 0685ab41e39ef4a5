"""A proof holds for the acknowledgement that it was given with, and for no other."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.emitters import Cursor, KnownEmitter
from relay.core.proofs import KEY_BYTES, PROOF_BYTES, Proofs, missing_events

KEY = bytes(range(KEY_BYTES))
ID = b"e" * 16
CLAIM = Cursor(ID, "manager-1", 5, 41)
OTHERS = [
    CLAIM._replace(emitter_id=b"f" * 16),
    CLAIM._replace(epoch=6),
    CLAIM._replace(sequence=42),
]

unsigned = st.integers(0, 2**64 - 1)


def proof(claim: Cursor = CLAIM, epoch: int = 7, key: bytes = KEY) -> bytes:
    return Proofs(key).of(epoch, claim.emitter_id, claim.epoch, claim.sequence)


def test_it_is_the_same_in_every_process() -> None:
    assert proof().hex() == "c2aa386af6f3ad23d584ea1b0b3c7235"
    assert len(proof()) == PROOF_BYTES


def test_it_names_the_epoch_of_the_relay() -> None:
    proofs = Proofs(KEY)
    assert proofs.epoch_of(CLAIM, proof(), [9, 7, 8]) == 7
    assert proofs.epoch_of(CLAIM, proof(), [9, 8]) is None
    assert proofs.epoch_of(CLAIM, proof(), []) is None


@pytest.mark.parametrize("claim", OTHERS)
def test_it_holds_for_no_other_claim(claim: Cursor) -> None:
    assert Proofs(KEY).epoch_of(claim, proof(), [7]) is None


def test_a_name_is_no_part_of_it() -> None:
    assert Proofs(KEY).epoch_of(CLAIM._replace(name="renamed"), proof(), [7]) == 7


@pytest.mark.parametrize(
    "given_proof", [None, b"", bytes(PROOF_BYTES), proof()[:-1], proof() + b"x"]
)
def test_other_bytes_prove_nothing(given_proof: bytes | None) -> None:
    assert Proofs(KEY).epoch_of(CLAIM, given_proof, [7]) is None


def test_another_journal_does_not_know_it() -> None:
    assert Proofs(bytes(KEY_BYTES)).epoch_of(CLAIM, proof(), [7]) is None


@given(*[st.tuples(unsigned, st.binary(min_size=16, max_size=16), unsigned, unsigned)] * 2)
def test_two_acknowledgements_have_two_proofs(
    first: tuple[int, bytes, int, int], second: tuple[int, bytes, int, int]
) -> None:
    proofs = Proofs(KEY)
    assert (proofs.of(*first) == proofs.of(*second)) == (first == second)


@pytest.mark.parametrize(
    ("claim", "missing"),
    [((5, 0), 0), ((5, 41), 0), ((5, 50), 9), ((4, 50), 0), ((6, 0), 0), ((6, 3), 3)],
)
def test_the_journal_lacks_what_is_above_its_cursor(claim: tuple[int, int], missing: int) -> None:
    known = KnownEmitter(CLAIM, is_journaled=True)
    asked = Cursor(ID, "manager-1", *claim)
    for knows_all in (True, False):
        assert missing_events(asked, known, knows_all=knows_all) == missing


def test_an_emitter_that_may_have_been_forgotten_misses_nothing() -> None:
    assert missing_events(CLAIM, None, knows_all=True) == 41
    assert missing_events(CLAIM, None, knows_all=False) == 0
