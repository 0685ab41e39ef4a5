"""A round of damaged files. `CHAOS_SEED` repeats one."""

from pathlib import Path

import pytest

from tests.e2e.chaos.damage import DamageRound
from tests.e2e.chaos.round import SEED_VARIABLE, new_seed


@pytest.mark.process
@pytest.mark.timeout(240)
def test_after_damage_to_the_journal_nothing_new_is_lost_or_comes_twice(tmp_path: Path) -> None:
    seed = new_seed()
    damaged = DamageRound(seed, tmp_path)
    try:
        problems = damaged.run()
    except BaseException as error:
        told = f"{SEED_VARIABLE}={seed} {damaged.log}: {error!r}"
        raise AssertionError(f"{told}\n{damaged.cluster.tails()}") from error
    finally:
        damaged.close()
    assert problems == [], f"{SEED_VARIABLE}={seed} {damaged.log}"
