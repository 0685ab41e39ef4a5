"""`make chaos`: rounds with new seeds until the time is over, or until the first wrong one."""

import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.e2e.chaos.round import WrongRound, new_seed, run_round


def main() -> None:
    """Run rounds for the minutes of the first argument, by default 10."""
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    end_at = time.monotonic() + 60 * minutes
    rounds = 0
    while rounds == 0 or time.monotonic() < end_at:
        rounds += 1
        seed = new_seed()
        print(f"round {rounds}, CHAOS_SEED={seed}", flush=True)
        with TemporaryDirectory(prefix="chaos-") as directory:
            try:
                print(run_round(seed, Path(directory)), flush=True)
            except WrongRound as wrong:
                print(wrong, file=sys.stderr)
                raise SystemExit(1) from None
    print(f"{rounds} rounds, all of them right")


if __name__ == "__main__":
    main()
