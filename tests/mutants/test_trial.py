"""Mutants of a function of this file, tried with tests that see much, little, or never end."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.mutants.operators import Mutant, mutants_of
from tests.mutants.trial import Outcome, try_mutant

TIMEOUT_S = 20.0


def clipped(value: int, limit: int) -> int:
    """The function that is mutated."""
    while value > limit:
        value -= 1
    return value


def mutants() -> dict[str, Mutant]:
    """Its mutants, by their changes."""
    source = Path(__file__).read_text(encoding="utf-8")
    found = [mutant for mutant in mutants_of(source) if mutant.function == "clipped"]
    return {mutant.change: mutant for mutant in found}


def tries(
    request: pytest.FixtureRequest, change: str, check: Callable[[], None], timeout_s: float
) -> Outcome:
    item = pytest.Function.from_parent(request.node.parent, name="check", callobj=check)
    return try_mutant(mutants()[change], __file__, [item], timeout_s)


def sees_the_limit() -> None:
    assert clipped(3, 2) == 2
    assert clipped(2, 2) == 2


def sees_nothing() -> None:
    clipped(1, 2)


def test_a_test_that_sees_the_change_kills_the_mutant(request: pytest.FixtureRequest) -> None:
    assert tries(request, "value > limit  ->  value >= limit", sees_the_limit, TIMEOUT_S) is (
        Outcome.KILLED
    )
    assert clipped(3, 2) == 2, "the mutant lived in the other process only"


def test_a_test_that_does_not_see_it_lets_it_live(request: pytest.FixtureRequest) -> None:
    change = "value > limit  ->  value >= limit"
    assert tries(request, change, sees_nothing, TIMEOUT_S) is Outcome.SURVIVED


def test_a_mutant_without_an_end_is_killed(request: pytest.FixtureRequest) -> None:
    assert tries(request, "value -= 1  ->  pass", sees_the_limit, 0.5) is Outcome.KILLED


def test_without_a_test_it_is_untested() -> None:
    [mutant, *_] = mutants().values()
    assert try_mutant(mutant, __file__, [], TIMEOUT_S) is Outcome.UNTESTED
