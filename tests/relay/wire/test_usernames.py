"""Two spellings of one user name are one user; names that look different stay different."""

import unicodedata

import pytest
from hypothesis import given

from relay.wire.usernames import normal_username
from tests.relay.wire.strategies import any_text

COMPOSED, DECOMPOSED = "Zo\u00eb", "Zoe\u0308"


@pytest.mark.parametrize("name", [COMPOSED, DECOMPOSED])
def test_spellings_of_one_name_are_one_name(name: str) -> None:
    assert normal_username(name) == COMPOSED


@pytest.mark.parametrize("name", ["alice", "Alice", "ﬁ", "fi", "①", "🎉" * 255, "", "ａ"])
def test_every_other_name_is_itself(name: str) -> None:
    assert normal_username(name) == name


@given(any_text)
def test_any_text_has_one_form(name: str) -> None:
    assert unicodedata.is_normalized("NFC", normal_username(name))
    assert normal_username(normal_username(name)) == normal_username(name)
