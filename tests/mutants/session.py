"""A pytest session that collects the tests of some files once, and then tries the mutants.

Each mutant is tried with the tests that run its function, the quickest first, of those that the
package has (`tests_for`). Functions are exchanged by their code (`trial`): nothing is imported
again.
"""

import gc
import json
import os
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import _lru_cache_wrapper
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

import pytest
from _pytest.nodes import Item
from _pytest.runner import SetupState
from hypothesis import Phase, settings

from tests.mutants.operators import Mutant, mutants_of
from tests.mutants.trial import Outcome, in_child, is_green, try_mutant

ROOT = Path(__file__).resolve().parents[2]
BASELINE_TIMEOUT_S = 600.0
LEAST_TIMEOUT_S = 5.0
SLOW = 20.0
"""A mutant has so many times the duration of its tests."""
MAX_EXAMPLES = 40
SAMPLE_OF_A_FILE = 15
FIRST_FILES = 6
"""The files of a sample whose tests are learned first."""
SLOWEST_TEST_S = 3.0


@dataclass(frozen=True)
class Plan:
    """The work of one session."""

    sources: Sequence[Path]
    """Relative to the root, in the order of trying."""
    budget_s: float | None = None
    """Seconds after which no file is begun; then only some mutants of each file are tried."""
    seed: int = 0


@dataclass
class Tally:
    """The outcomes of some mutants."""

    outcomes: Counter[Outcome] = field(default_factory=Counter)
    left: list[str] = field(default_factory=list)
    """A line for each mutant that nothing killed."""

    @property
    def tried(self) -> int:
        """The number of mutants that count."""
        return sum(self.outcomes.values()) - self.outcomes[Outcome.UNFIT]

    @property
    def share_left(self) -> float:
        """The share of mutants that nothing killed, 0 to 1."""
        return len(self.left) / max(1, self.tried)


class MutantSession:
    """The plugin. It replaces pytest's own loop over the tests."""

    def __init__(self, plan: Plan, out: TextIO) -> None:
        self._plan = plan
        self._out = out
        self._baselines: dict[str, Baseline] = {}
        """By folder of tests."""
        self.total = Tally()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Try the mutants of each file in turn."""
        until = None if self._plan.budget_s is None else time.monotonic() + self._plan.budget_s
        for source in self._plan.sources:
            if until is not None and time.monotonic() > until:
                break
            folder = tests_for(source)
            if folder not in self._baselines:
                items = [item for item in session.items if _is_fast_test_in(item, folder)]
                limit_s = BASELINE_TIMEOUT_S
                if self._plan.budget_s is not None:
                    items = self._nearest(items)
                    limit_s = self._plan.budget_s / 2
                self._baselines[folder] = Baseline(ROOT / source.parts[0], items, limit_s)
            self._try_file(source, self._baselines[folder])
        return True

    def _nearest(self, items: list[Item]) -> list[Item]:
        """Put the tests first that mirror the first files: there is no time for all."""
        folders = {ROOT / "tests" / source.parent for source in self._plan.sources[:FIRST_FILES]}
        return sorted(items, key=lambda item: item.path.parent not in folders)

    def _try_file(self, source: Path, baseline: "Baseline") -> None:
        path = str(ROOT / source)
        began, tally = time.monotonic(), Tally()
        mutants = list(mutants_of((ROOT / source).read_text(encoding="utf-8")))
        if self._plan.budget_s is not None:
            random.Random(f"{source} {self._plan.seed}").shuffle(mutants)
            mutants = sorted(mutants[:SAMPLE_OF_A_FILE], key=lambda mutant: mutant.line)
        if not baseline.is_green_again(path):
            self._say(f"{source}: its tests fail without a mutant, too")
            self.total.left.append(str(source))
        for mutant in mutants:
            chosen = baseline.tests_of(path, mutant.function)
            if self._plan.budget_s is not None and not chosen:
                continue  # Its tests were perhaps not learned.
            timeout_s = max(LEAST_TIMEOUT_S, SLOW * sum(map(baseline.duration_s, chosen)))
            outcome = try_mutant(mutant, path, chosen, timeout_s)
            self._note(source, mutant, outcome, tally)
        self._say(
            f"{source}: {tally.tried} mutants, {len(tally.left)} left ({tally.share_left:.0%}),"
            f" {time.monotonic() - began:.0f} s"
        )

    def _note(self, source: Path, mutant: Mutant, outcome: Outcome, tally: Tally) -> None:
        left = outcome in (Outcome.SURVIVED, Outcome.UNTESTED)
        line = f"  {outcome.value} {source}:{mutant.line} {mutant.function}: {mutant.change}"
        for each in (tally, self.total):
            each.outcomes[outcome] += 1
            if left:
                each.left.append(line)
        if left:
            self._say(line)

    def _say(self, line: str) -> None:
        print(line, file=self._out, flush=True)


class Baseline:
    """Which tests run which function of a package, and how long; measured in a child."""

    def __init__(self, folder: Path, items: Sequence[Item], limit_s: float) -> None:
        """Run `items` once, unchanged, for `limit_s`. Those that fail or take long are left out."""
        for item in items:
            _hurry(item)
        self._items = {item.nodeid: item for item in items}
        self._durations: dict[str, float] = {}
        self._tests: dict[str, list[str]] = {}
        """By path and name of the function."""
        with tempfile.TemporaryFile("w+") as report:
            in_child(lambda: _measure(str(folder), items, report), limit_s)
            report.seek(0)
            for line in report:
                nodeid, duration_s, functions = json.loads(line)
                self._durations[nodeid] = duration_s
                for function in functions:
                    self._tests.setdefault(function, []).append(nodeid)

    def tests_of(self, path: str, function: str) -> list[Item]:
        """Return the tests that run a function, the quickest first."""
        found = self._tests.get(f"{path} {function}", ())
        chosen = sorted(found, key=self._durations.__getitem__)
        return [self._items[nodeid] for nodeid in chosen]

    def is_green_again(self, path: str) -> bool:
        """Whether the tests of a file pass on the way on which its mutants are tried."""
        names = {
            name for key, names in self._tests.items() if key.startswith(path) for name in names
        }
        items = [self._items[name] for name in sorted(names)]
        outcome = try_mutant(None, path, items, BASELINE_TIMEOUT_S)
        return outcome is Outcome.SURVIVED or not items

    def duration_s(self, item: Item) -> float:
        """Return how long a test took."""
        return self._durations[item.nodeid]


def _measure(folder: str, items: Sequence[Item], report: TextIO) -> int:
    for item in items[:1]:
        # The parent may be in the middle of a test.
        item.session._setupstate = SetupState()
    caches = list(_caches(folder))
    for item in items:
        # Or the test would not be seen to run what an earlier one has had computed.
        for cache in caches:
            cache.cache_clear()
        functions: set[str] = set()

        def watch(frame: FrameType, event: str, _argument: Any, seen: set[str] = functions) -> None:
            code = frame.f_code
            if event == "call" and code.co_filename.startswith(folder):
                function = code.co_qualname.partition(".<locals>")[0]
                seen.add(f"{code.co_filename} {function}")

        began = time.monotonic()
        threading.setprofile(watch)
        sys.setprofile(watch)
        try:
            green = is_green(item)
        finally:
            sys.setprofile(None)
            threading.setprofile(None)
        duration_s = time.monotonic() - began
        if green and functions and duration_s < SLOWEST_TEST_S:
            print(json.dumps([item.nodeid, duration_s, sorted(functions)]), file=report, flush=True)
    return 0


def _caches(folder: str) -> Iterator["_lru_cache_wrapper[Any]"]:
    """Yield the functions of a folder that remember their results."""
    # tests/conftest.py has frozen what pytest has collected.
    gc.unfreeze()
    objects = gc.get_objects()
    gc.freeze()
    for each in objects:
        if type(each) is _lru_cache_wrapper:
            code = getattr(each.__wrapped__, "__code__", None)
            if code is not None and code.co_filename.startswith(folder):
                yield each


def tests_for(source: Path) -> str:
    """Return the folder of the tests that guard a file: those of the core, or of the package."""
    top, *others = source.parts
    return f"tests/{top}/core" if top == "edge" and others[0] == "core" else f"tests/{top}"


def _is_fast_test_in(item: Item, folder: str) -> bool:
    is_slow = item.get_closest_marker("process") is not None
    return item.path.is_relative_to(ROOT / folder) and not is_slow


def _hurry(item: Item) -> None:
    """Let Hypothesis look for few examples, the same ones each time, and never for smaller ones."""
    quick = {"phases": (Phase.explicit, Phase.generate), "database": None, "derandomize": True}
    test = getattr(item, "obj", None)
    owners = (
        (getattr(test, "__func__", test), "_hypothesis_internal_use_settings"),
        (getattr(item, "cls", None), "settings"),
    )
    for owner, name in owners:
        known = getattr(owner, name, None)
        if isinstance(known, settings):
            examples = min(known.max_examples, MAX_EXAMPLES)
            setattr(owner, name, settings(known, max_examples=examples, **quick))  # type: ignore[arg-type]


def run(plan: Plan) -> Tally:
    """Collect the tests of the plan's files, and try its mutants."""
    folders = sorted({tests_for(source) for source in plan.sources})
    out = os.fdopen(os.dup(1), "w")
    plugin = MutantSession(plan, out)
    options = ["-q", "-p", "no:cacheprovider", "--timeout=0", "-m", "not process"]
    code = pytest.main([*options, *folders], plugins=[plugin])
    assert code in (0, 5), f"pytest ended with {code}"
    return plugin.total


def lines(tally: Tally) -> Iterator[str]:
    """Yield the summary."""
    counts = ", ".join(f"{tally.outcomes[each]} {each.value}" for each in Outcome)
    yield f"{tally.tried} mutants: {counts}; {tally.share_left:.1%} left"
