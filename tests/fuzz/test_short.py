"""A short form of `make fuzz`: all parts together take about a minute, with one guided parser."""

import secrets

import pytest

from tests.fuzz import api, guided
from tests.fuzz.budget import Budget
from tests.fuzz.parts import PARTS

BUDGETS = {
    "parsers": Budget(4.0),
    "guided": Budget(4.0, only=secrets.randbelow(100)),
    "live": Budget(6.0),
    "link": Budget(inputs=2),
    "api": Budget(10.0),
}
OPTIONAL = {"guided": guided.is_installed, "api": api.is_installed}


@pytest.mark.process
@pytest.mark.parametrize("name", PARTS)
def test_a_part_finds_nothing(name: str) -> None:
    if name in OPTIONAL and not OPTIONAL[name]():
        pytest.skip("it needs a package of `make fuzz`")
    seed = secrets.randbits(31)
    print(f"python -m tests.fuzz {name} --seed {seed}")
    print(PARTS[name](BUDGETS[name], seed))
