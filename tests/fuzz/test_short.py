"""A short form of `make fuzz`: all parts together take about a minute."""

import secrets

import pytest

from tests.fuzz.budget import Budget
from tests.fuzz.guided import is_installed
from tests.fuzz.parts import PARTS

SECONDS = {"parsers": 15.0, "guided": 10.0, "relay": 20.0}


@pytest.mark.process
@pytest.mark.parametrize("name", PARTS)
def test_a_part_finds_nothing(name: str) -> None:
    if name == "guided" and not is_installed():
        pytest.skip("Atheris is not installed")
    seed = secrets.randbits(31)
    print(f"python -m tests.fuzz {name} --seed {seed}")
    print(PARTS[name](Budget(SECONDS.get(name, 10.0)), seed))
