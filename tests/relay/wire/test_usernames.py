"""Two spellings of one user name are one user; names that look different stay different."""

import sys
import unicodedata

import pytest
from hypothesis import given

from relay.wire.usernames import MAX_NAME_CHARS, normal_username
from tests.relay.wire.strategies import any_text

COMPOSED, DECOMPOSED = "Zo\u00eb", "Zoe\u0308"


@pytest.mark.parametrize("name", [COMPOSED, DECOMPOSED])
def test_spellings_of_one_name_are_one_name(name: str) -> None:
    assert normal_username(name) == COMPOSED


@pytest.mark.parametrize("name", ["alice", "Alice", "ﬁ", "fi", "①", "🎉" * 255, "", "ａ"])
def test_every_other_name_is_itself(name: str) -> None:
    assert normal_username(name) == name


def test_the_longest_name_has_one_form_in_its_longest_spelling() -> None:
    composed = "\u1faf" * MAX_NAME_CHARS
    decomposed = unicodedata.normalize("NFD", composed)
    assert len(decomposed) == 4 * MAX_NAME_CHARS
    assert normal_username(decomposed) == composed


def test_a_text_that_is_no_name_stays_and_costs_no_time() -> None:
    """To compose it would take hours."""
    text = "\u0315" * 1_000_000 + "\u0316" * 1_000_000
    assert normal_username(text) == text


def test_the_bound_is_that_of_unicode() -> None:
    characters = map(chr, range(sys.maxunicode + 1))
    composed = (each for each in characters if unicodedata.is_normalized("NFC", each))
    assert max(len(unicodedata.normalize("NFD", each)) for each in composed) == 4


@given(any_text)
def test_any_text_has_one_form(name: str) -> None:
    assert unicodedata.is_normalized("NFC", normal_username(name))
    assert normal_username(normal_username(name)) == normal_username(name)
