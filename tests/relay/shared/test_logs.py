"""One cause does not flood the log."""

import logging

import pytest

import relay.shared.logs
from relay.shared.logs import LimitedLog, LimitedRecords, configure


class HandClock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> HandClock:
    clock = HandClock()
    monkeypatch.setattr(relay.shared.logs, "monotonic", clock)
    return clock


def test_a_cause_is_logged_once_an_interval_with_the_number_of_omitted_lines(
    clock: HandClock, caplog: pytest.LogCaptureFixture
) -> None:
    log = LimitedLog(logging.getLogger("test"), interval_s=10)
    log.warning("topic", "bad topic %s", "a")
    log.warning("topic", "bad topic %s", "b")
    clock.now += 9.9
    log.warning("topic", "bad topic %s", "c")
    clock.now += 0.2
    log.warning("topic", "bad topic %s", "d")
    clock.now += 10
    log.warning("topic", "bad topic %s", "e")
    assert caplog.messages == [
        "bad topic a",
        "bad topic d (and 2 more of this kind)",
        "bad topic e",
    ]


def test_causes_do_not_hide_each_other(clock: HandClock, caplog: pytest.LogCaptureFixture) -> None:
    log = LimitedLog(logging.getLogger("test"), interval_s=10)
    log.warning("topic", "bad topic")
    log.warning("frame", "bad frame")
    assert caplog.messages == ["bad topic", "bad frame"]
    assert {record.levelname for record in caplog.records} == {"WARNING"}


def test_an_error_is_limited_as_a_warning_is(
    clock: HandClock, caplog: pytest.LogCaptureFixture
) -> None:
    log = LimitedLog(logging.getLogger("test"), interval_s=10)
    log.error("journal", "disk full: %s", "a")
    log.warning("journal", "disk full: %s", "b")
    clock.now += 10
    log.error("journal", "disk full: %s", "c")
    assert caplog.messages == ["disk full: a", "disk full: c (and 1 more of this kind)"]
    assert {record.levelname for record in caplog.records} == {"ERROR"}


def test_a_message_with_percent_signs_is_logged_as_it_is(
    clock: HandClock, caplog: pytest.LogCaptureFixture
) -> None:
    LimitedLog(logging.getLogger("test")).warning("topic", "bad topic: %s", "100%s")
    assert caplog.messages == ["bad topic: 100%s"]


def test_configure_logs_one_line_with_level_and_program(
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers.clear()
    try:
        configure("event-relay", "WARNING")
        logging.getLogger("x").warning("hello")
        logging.getLogger("x").info("not shown")
        lines = capsys.readouterr().err.splitlines()
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    assert len(lines) == 1
    assert lines[0].endswith(" WARNING event-relay hello")


def test_a_line_of_a_library_is_logged_once_an_interval(
    clock: HandClock, caplog: pytest.LogCaptureFixture
) -> None:
    library = logging.getLogger("library")
    limit = LimitedRecords(interval_s=10)
    library.addFilter(limit)

    def complain(who: str) -> None:
        library.warning("bad request of %s", who)

    try:
        for who in ("a", "b", "c"):
            complain(who)
        library.warning("something else")
        clock.now += 10
        complain("d")
        complain("e")
    finally:
        library.removeFilter(limit)
    assert caplog.messages == [
        "bad request of a",
        "something else",
        "bad request of d (and 2 more of this kind)",
    ]
