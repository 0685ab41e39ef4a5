"""Which tests run a function is found out for each test by itself."""

from functools import cache
from pathlib import Path

import pytest

from tests.mutants.session import Baseline

LIMIT_S = 20.0


@cache
def squared(value: int) -> int:
    """A function that remembers its results."""
    return value * value


def sees_a_square() -> None:
    assert squared(3) == 9


def test_a_test_runs_what_an_earlier_one_has_had_computed(
    request: pytest.FixtureRequest,
) -> None:
    items = [
        pytest.Function.from_parent(request.node.parent, name=name, callobj=sees_a_square)
        for name in ("first", "second")
    ]
    baseline = Baseline(Path(__file__).parent, items, LIMIT_S)
    found = baseline.tests_of(__file__, "squared")
    assert sorted(item.name for item in found) == ["first", "second"]
