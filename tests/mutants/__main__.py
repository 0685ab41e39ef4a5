"""`python -m tests.mutants [PATH...] [--budget S] [--seed N]`: see `tests.mutants`."""

import argparse
import random
import sys
from pathlib import Path

from tests.mutants.session import ROOT, Plan, lines, run, tests_for

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
MAX_SHARE_LEFT_OF_SAMPLE = 0.50
"""A sample has few mutants, and time to learn few tests: it finds cores whose tests see nothing."""
LEAST_SAMPLE = 20
"""Fewer mutants, on a slow machine, say nothing about a package."""


def main() -> int:
    """Return 1 if too many mutants are left."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants")
    parser.add_argument("paths", nargs="*", default=CORES, help="files and folders; default: cores")
    parser.add_argument("--budget", type=float, help="seconds: try a sample that fits roughly")
    parser.add_argument("--seed", type=int, default=0, help="chooses the sample")
    arguments = parser.parse_args()
    sources = [source for path in arguments.paths for source in _sources(path)]
    if arguments.budget is not None:
        sources = _of_one_package(sources, random.Random(arguments.seed))
    tally = run(Plan(sources, arguments.budget, arguments.seed))
    print(*lines(tally), sep="\n")
    if arguments.budget is None:
        return int(tally.share_left > MAX_SHARE_LEFT)
    return int(tally.tried >= LEAST_SAMPLE and tally.share_left > MAX_SHARE_LEFT_OF_SAMPLE)


def _of_one_package(sources: list[Path], chance: random.Random) -> list[Path]:
    """Return the files of one package in random order: each package has its own tests to learn."""
    folder = tests_for(chance.choice(sources))
    chosen = [source for source in sources if tests_for(source) == folder]
    chance.shuffle(chosen)
    return chosen


def _sources(path: str) -> list[Path]:
    found = ROOT / path
    if found.is_file():
        return [found.relative_to(ROOT)]
    files = (each for each in sorted(found.rglob("*.py")) if each.name != "__init__.py")
    return [each.relative_to(ROOT) for each in files]


if __name__ == "__main__":
    sys.exit(main())
