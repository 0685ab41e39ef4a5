"""The limit of descriptors, in processes of their own: the tests' own limit stays."""

import subprocess

import pytest

from tests.support.limits import limited
from tests.support.processes import ROOT, python


def limit_after(limit: str, wanted: int) -> int:
    """Return the limit that a process under `limit` has after it asked for `wanted`."""
    code = (
        "import resource; from relay.shared.descriptors import raise_limit;"
        f"found = raise_limit({wanted}); soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE);"
        "assert found == soft, (found, soft); print(found)"
    )
    return int(run(limit, code))


def run(limit: str, code: str) -> str:
    ended = subprocess.run(
        limited(limit, python("-c", code)), cwd=ROOT, capture_output=True, text=True, check=True
    )
    return ended.stdout


@pytest.mark.parametrize(
    ("limit", "wanted", "expected"),
    [
        ("-Sn 256", 1000, 1000),
        ("-n 256", 1000, 256),
        ("-Sn 256", 100, 256),
        ("-Sn 256 && ulimit -Hn 1000", 10**9, 1000),
    ],
    ids=["raised", "not above the hard limit", "not lowered", "up to the hard limit"],
)
def test_the_soft_limit_is_raised_as_far_as_it_may(limit: str, wanted: int, expected: int) -> None:
    assert limit_after(limit, wanted) == expected


def test_descriptors_are_left_until_they_are_taken() -> None:
    code = """
import os
from relay.shared.descriptors import are_left

held = []
while are_left(10):
    held.append(os.dup(0))
low = len(os.listdir("/proc/self/fd")) - 1
for _ in range(9):
    held.append(os.dup(0))
print(low, are_left(1))
"""
    assert run("-n 64", code).split() == ["55", "False"]
