"""Fixtures for the tests of the edge's modules."""

from functools import partial

import pytest
from argon2 import PasswordHasher


@pytest.fixture
def cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash passwords by the same function in a thousandth of the time; a real hash takes 0.1 s."""
    cheap = partial(PasswordHasher, time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr("edge.http.users.PasswordHasher", cheap)
