"""The terminal and the page show the same results."""

from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from bench.attempts import try_each
from bench.page import page
from bench.peers.peer import Server
from bench.report import Section, Table, Target, as_markdown, as_text
from bench.servers import OURS

SECTION = Section(
    "Speed",
    "How fast it is.",
    (Table(("server", "ms"), (("ours", "1.50"), ("theirs", "12.00")), ("One was absent.",)),),
    (Target("below 2 ms", "1.50 ms", True), Target("below 1 ms", "1.50 ms", False)),
)


class FakePeer:
    """A server with a name that never runs."""

    name = "Fake"

    def __init__(self, missing: str | None = None) -> None:
        self._missing = missing

    def missing(self) -> str | None:
        return self._missing

    def version(self) -> str:
        return "1.2"

    def run(self, directory: Path, clients: int) -> AbstractContextManager[Server]:
        raise NotImplementedError


def test_the_terminal_has_columns() -> None:
    assert as_text(SECTION).splitlines() == [
        "Speed",
        "How fast it is.",
        "",
        "server     ms",
        "ours     1.50",
        "theirs  12.00",
        "",
        "One was absent.",
        "",
        "target: below 2 ms: 1.50 ms, met",
        "target: below 1 ms: 1.50 ms, MISSED",
    ]


def test_the_page_has_markdown() -> None:
    assert as_markdown(SECTION).splitlines() == [
        "## Speed",
        "",
        "How fast it is.",
        "",
        "| server | ms |",
        "| --- | ---: |",
        "| ours | 1.50 |",
        "| theirs | 12.00 |",
        "",
        "One was absent.",
        "",
        "- below 2 ms: 1.50 ms, met",
        "- below 1 ms: 1.50 ms, MISSED",
    ]


def test_the_page_says_who_took_part_and_what_failed() -> None:
    peers = {"there": FakePeer(), "absent": FakePeer("apt-get install fake")}
    text = page("make bench", 90.0, peers, [SECTION], ["storm"])
    assert "`make bench`" in text
    assert "1.5 minutes" in text
    assert "- Fake: 1.2\n- Fake: not measured; install it with `apt-get install fake`\n" in text
    assert "- Speed: below 1 ms: 1.50 ms, MISSED" in text
    assert "These parts failed: storm." in text
    assert as_markdown(SECTION) in text


def test_a_peer_that_cannot_be_measured_costs_a_line() -> None:
    def measure(peer: object) -> str:
        if peer is broken:
            raise TimeoutError("9 of 10 are subscribed")
        return "measured"

    broken = FakePeer()
    peers = {"good": FakePeer(), "absent": FakePeer("apt-get install fake"), "broken": broken}
    results, notes = try_each(peers, measure)
    assert results == {"good": "measured"}
    assert notes == (
        "Fake is not installed: apt-get install fake",
        "Fake was not measured: 9 of 10 are subscribed",
    )
    with pytest.raises(TimeoutError):
        try_each({OURS: broken}, measure)
