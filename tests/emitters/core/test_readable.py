"""Any object has a text, and a name of its type."""

from datetime import date
from typing import Any

import pytest

from emitters.core.readable import MAX_TEXT_BYTES, carry_text, type_name


class Namer(type):
    @property
    def __name__(cls) -> str:  # type: ignore[override]
        raise RuntimeError("no")


class Nameless(metaclass=Namer):
    def __str__(self) -> Any:
        raise RuntimeError("no")


def test_a_type_has_its_name_whatever_its_metaclass_says() -> None:
    assert type_name(Nameless()) == "Nameless"
    assert carry_text(Nameless()) == "(Nameless without a readable text)"


def test_dates_are_as_in_iso_8601() -> None:
    assert carry_text(date(2026, 1, 2)) == "2026-01-02"


def test_text_is_cut_between_characters() -> None:
    text = carry_text("é" * MAX_TEXT_BYTES)
    assert text == "é" * (MAX_TEXT_BYTES // 2) + "…"


@pytest.mark.parametrize(
    ("text", "shown"),
    [("abc", "abc"), ("abcd", "abc…"), ("éa", "éa"), ("aéa", "aé…"), ("éé", "é…"), ("", "")],
)
def test_text_of_exactly_the_limit_is_whole(text: str, shown: str) -> None:
    assert carry_text(text, 3) == shown


def test_text_that_utf_8_cannot_encode_is_escaped() -> None:
    assert carry_text("\udcff") == "\\udcff"


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_the_end_of_the_process_is_not_swallowed(stop: type[BaseException]) -> None:
    class Ends:
        def __str__(self) -> str:
            raise stop

    with pytest.raises(stop):
        carry_text(Ends())
