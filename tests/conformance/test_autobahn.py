"""The Autobahn test suite's own case files against our front door (RFC 6455 and RFC 7692).

`kosoku` runs the cases; `tests.apps.echo` is a real edge that sends every message back. The names
of the cases are Autobahn's. With AUTOBAHN=all also the large cases of groups 12 and 13 run.
"""

import asyncio
import os
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import kosoku
import pytest

from tests.support.cluster import Cluster, free_ports
from tests.support.processes import python

SUITE_TIMEOUT_S = 240 if os.environ.get("AUTOBAHN") != "all" else 3600
FOUND_LATE = {"6.4.1", "6.4.2", "6.4.3", "6.4.4"}
"""Wrong UTF-8 in a message that is not whole: found when it is. Autobahn calls that non-strict."""
REFUSED_WINDOWS = ("13.3.*", "13.4.*", "13.5.*", "13.6.*")
"""The client demands a small window of the server, and so is served without compression."""
NOT_RUN = ("*.1", "*.2")
"""Of groups 12 and 13: the runner itself fails with the smallest of these messages."""
GROUPS = {
    "1, framing": ["1.*"],
    "2, pings and pongs": ["2.*"],
    "3, reserved bits": ["3.*"],
    "4, opcodes": ["4.*"],
    "5, fragmentation": ["5.*"],
    "6, UTF-8": ["6.*"],
    "7, closing": ["7.*"],
    "9, sizes up to 16 MiB": ["9.*"],
    "10, automatic fragmentation": ["10.*"],
}
SMALL = (3, 6)


@pytest.fixture(scope="module", autouse=True)
def _shims() -> Iterator[None]:
    """Take away what kosoku puts in the place of installed packages, for tests of other files."""
    paths = list(sys.path)
    yield
    sys.path[:] = paths
    for name, module in list(sys.modules.items()):
        if "/kosoku/shim/" in (getattr(module, "__file__", None) or ""):
            del sys.modules[name]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An echoing edge, with bounds above those of the cases."""
    cluster = Cluster(Path(tmp_path_factory.mktemp("autobahn")))
    port = free_ports(1)[0]
    try:
        edge = cluster.start_forked(
            "echo",
            python("-m", "tests.apps.echo"),
            EDGE_PORT=str(port),
            EDGE_COMPRESSION="true",
            EDGE_MAX_MESSAGE_BYTES=str(32 * 2**20),
            EDGE_MAX_QUEUED_BYTES=str(64 * 2**20),
        )
        edge.wait_for_output("serving")
        yield f"ws://127.0.0.1:{port}/ws"
    finally:
        cluster.close()


def verdicts(url: str, cases: list[str], without: tuple[str, ...] = ()) -> dict[str, str]:
    """Return Autobahn's verdict about each case."""

    async def run() -> list[Any]:
        async with asyncio.timeout(SUITE_TIMEOUT_S):
            try:
                return await kosoku.run_fuzzingclient(url, cases, list(without), concurrency=4)
            except kosoku.FailureError as failure:
                return list(failure.results)

    return {
        each.case_id: f"{each.behavior.value}, closed: {each.behavior_close.value}"
        for each in asyncio.run(run())
    }


@pytest.mark.parametrize("cases", GROUPS.values(), ids=GROUPS.keys())
@pytest.mark.timeout(SUITE_TIMEOUT_S + 30)
def test_every_case_of_the_protocol_passes(url: str, cases: list[str]) -> None:
    found = verdicts(url, cases)
    assert found
    good = {"OK, closed: OK", "INFORMATIONAL, closed: INFORMATIONAL"}
    others = {case: verdict for case, verdict in found.items() if verdict not in good}
    assert others == dict.fromkeys(FOUND_LATE & found.keys(), "NON-STRICT, closed: OK")


@pytest.mark.parametrize(("group", "parts"), [("12", 5), ("13", 7)])
@pytest.mark.timeout(SUITE_TIMEOUT_S + 30)
def test_compressed_messages_come_back(url: str, group: str, parts: int) -> None:
    if os.environ.get("AUTOBAHN") == "all":
        cases = [f"{group}.*"]
    else:
        cases = [f"{group}.{part}.{size}" for part in range(1, parts + 1) for size in SMALL]
    found = verdicts(url, cases, NOT_RUN)
    assert found
    refused = {case for case in found if any(fnmatch(case, each) for each in REFUSED_WINDOWS)}
    assert {found[case] for case in refused} <= {"UNIMPLEMENTED, closed: OK"}
    assert {found[case] for case in found.keys() - refused} == {"OK, closed: OK"}
