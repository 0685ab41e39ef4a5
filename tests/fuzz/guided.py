"""The parsers under Atheris, which keeps the inputs that reach further lines of our code.

Atheris is optional: `make fuzz` installs it where there is a package for the system and this
Python. It takes a process over, so that each parser has one of its own.
"""

import importlib
import importlib.util
import math
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.fuzz.budget import Budget

OF_EDGES = ("websocket", "http head", "messages of a user", "following a relay")
GUIDED = (
    "zmtp control",
    "zmtp egress",
    "curve stream",
    "curve traffic",
    "request",
    "envelope",
    "plain envelope",
    "topic",
    "notice",
    *OF_EDGES,
)
"""Parsers with branches of their own."""
MAX_INPUT_BYTES = 4_096


def is_installed() -> bool:
    """Return whether Atheris is there."""
    return importlib.util.find_spec("atheris") is not None


def fuzz_guided(budget: Budget, seed: int) -> str:
    """Run every parser under Atheris for its part of the budget. Raises `CalledProcessError`."""
    if not is_installed():
        return "Atheris is not installed: nothing was done"
    names = GUIDED if budget.only is None else (GUIDED[budget.only % len(GUIDED)],)
    share = budget.split(len(names))
    for name in names:
        limits = [f"-runs={share.inputs}"]
        if math.isfinite(share.seconds):
            limits.append(f"-max_total_time={max(1, round(share.seconds))}")
        # libFuzzer takes the seed 0 for none.
        command = [sys.executable, "-m", "tests.fuzz.guided", name, f"-seed={seed + 1}", *limits]
        subprocess.run(command, check=True)
    return f"{', '.join(names)} under Atheris, for {share.seconds:g} s each"


def _run(name: str, options: list[str]) -> None:
    """Fuzz one parser in this process, which ends with it."""
    atheris = importlib.import_module("atheris")
    # Only what is needed: it takes seconds.
    packages = ["relay", "edge", "emitters"] if name in OF_EDGES else ["relay"]
    with atheris.instrument_imports(include=packages):
        from tests.fuzz import parsers

    with tempfile.TemporaryDirectory() as corpus:
        for number, sample in enumerate(parsers.PARSERS[name].samples):
            (Path(corpus) / str(number)).write_bytes(sample[:MAX_INPUT_BYTES])
        limit = f"-max_len={MAX_INPUT_BYTES}"
        atheris.Setup(
            [sys.argv[0], *options, limit, corpus], lambda data: parsers.try_one(name, data)
        )
        atheris.Fuzz()


if __name__ == "__main__":
    _run(sys.argv[1], sys.argv[2:])
