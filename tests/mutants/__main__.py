"""`python -m tests.mutants [PATH...] [--budget S] [--seed N]`: see `tests.mutants`."""

import argparse
import random
import sys
from pathlib import Path

from tests.mutants.session import ROOT, Plan, lines, run

CORES = (
    "relay/core",
    "relay/wire",
    "relay/sequencer.py",
    "edge/core",
    "edge/upstream/requests.py",
    "emitters/core",
    "emitters/mailbox.py",
)
MAX_SHARE_LEFT = 0.10
MAX_SHARE_LEFT_OF_SAMPLE = 0.20
"""A sample has few mutants, so chance has a say in it."""


def main() -> int:
    """Return 1 if too many mutants are left."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants")
    parser.add_argument("paths", nargs="*", default=CORES, help="files and folders; default: cores")
    parser.add_argument("--budget", type=float, help="seconds: try a sample that fits roughly")
    parser.add_argument("--seed", type=int, default=0, help="chooses the sample")
    arguments = parser.parse_args()
    sources = [source for path in arguments.paths for source in _sources(path)]
    if arguments.budget is not None:
        random.Random(arguments.seed).shuffle(sources)
    tally = run(Plan(sources, arguments.budget, arguments.seed))
    print(*lines(tally), sep="\n")
    limit = MAX_SHARE_LEFT if arguments.budget is None else MAX_SHARE_LEFT_OF_SAMPLE
    return int(tally.share_left > limit)


def _sources(path: str) -> list[Path]:
    found = ROOT / path
    if found.is_file():
        return [found.relative_to(ROOT)]
    files = (each for each in sorted(found.rglob("*.py")) if each.name != "__init__.py")
    return [each.relative_to(ROOT) for each in files]


if __name__ == "__main__":
    sys.exit(main())
