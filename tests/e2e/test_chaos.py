"""The short form of the chaos suite; `make chaos MINUTES=10` is the long one."""

from pathlib import Path

import pytest

from tests.e2e.chaos.round import new_seed, run_round

EVENTS_PER_S = 800
"""Of all emitters together; the long form has 2,000."""


@pytest.mark.process
@pytest.mark.timeout(240)
def test_under_chaos_every_client_gets_exactly_what_it_may_see(tmp_path: Path) -> None:
    """Applies each fault once, in the order of a seed; `CHAOS_SEED` repeats that order."""
    seed = new_seed()
    print(f"CHAOS_SEED={seed}")
    summary = run_round(seed, tmp_path, EVENTS_PER_S)
    print(summary)
    assert summary.deliveries > 0
    assert summary.recovered > 0
