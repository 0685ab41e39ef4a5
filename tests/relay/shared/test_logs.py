"""One cause does not flood the log."""

import logging
from collections.abc import Callable

import pytest

import relay.shared.logs
from relay.shared.logs import (
    MAX_LINE_CHARS,
    MAX_TRACEBACK_CHARS,
    LimitedLog,
    LimitedRecords,
    configure,
    one_line,
)


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


def test_an_exception_is_limited_with_its_traceback(
    clock: HandClock, caplog: pytest.LogCaptureFixture
) -> None:
    log = LimitedLog(logging.getLogger("test"), interval_s=10)
    for number in range(3):
        try:
            raise ValueError(f"fault {number}")
        except ValueError:
            log.exception("fault", "a part has failed")
    assert caplog.messages == ["a part has failed"]
    [record] = caplog.records
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "fault 0"


def test_a_message_with_percent_signs_is_logged_as_it_is(
    clock: HandClock, caplog: pytest.LogCaptureFixture
) -> None:
    LimitedLog(logging.getLogger("test")).warning("topic", "bad topic: %s", "100%s")
    assert caplog.messages == ["bad topic: 100%s"]


def logged(
    capsys: pytest.CaptureFixture[str], action: Callable[[logging.Logger], None]
) -> list[str]:
    """Return the lines that a program logs in `action`, from level WARNING."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers.clear()
    try:
        configure("event-relay", "WARNING")
        action(logging.getLogger("x"))
        return capsys.readouterr().err.split("\n")[:-1]
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


def test_configure_logs_one_line_with_level_and_program(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def greet(logger: logging.Logger) -> None:
        logger.warning("hello")
        logger.info("not shown")

    lines = logged(capsys, greet)
    assert len(lines) == 1
    assert lines[0].endswith(" WARNING event-relay hello")


FORGED = "a\n12:00:00 ERROR   event-relay forged\r\x1b[31m\x9b1m\u2028\u202e ä€😀\\n"


def test_text_from_outside_can_neither_forge_a_line_nor_reach_a_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    [line] = logged(capsys, lambda logger: logger.warning("refused %s", FORGED))
    assert line.endswith(
        " refused a\\n12:00:00 ERROR   event-relay forged\\r\\x1b[31m\\x9b1m\\u2028\\u202e ä€😀\\n"
    )


def test_half_a_pair_can_be_written() -> None:
    assert one_line("\ud83d ") == "\\ud83d "


def test_a_line_is_shortened_in_its_middle(capsys: pytest.CaptureFixture[str]) -> None:
    [line] = logged(capsys, lambda log: log.warning("from %s to the end", "x" * 900_000))
    assert len(line) < MAX_LINE_CHARS + 100
    assert " from xxx" in line
    assert line.endswith("xxx to the end")
    assert "… 899016 characters …" in line


def test_the_lines_of_a_traceback_do_not_look_like_records(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(logger: logging.Logger) -> None:
        try:
            raise ValueError(FORGED + "x" * 900_000)
        except ValueError:
            logger.exception("failed")

    first, *others = logged(capsys, fail)
    assert first.endswith(" ERROR   event-relay failed")
    assert others[0] == "    Traceback (most recent call last):"
    assert all(line.startswith("    ") for line in others)
    assert "\x1b" not in "".join(others)
    assert sum(map(len, others)) < 2 * MAX_TRACEBACK_CHARS


def test_a_limited_log_escapes_in_every_form_of_log(caplog: pytest.LogCaptureFixture) -> None:
    """An emitter writes to the log of the application in which it runs."""
    LimitedLog(logging.getLogger("test")).warning("name", "bad name %s", FORGED)
    LimitedLog(logging.getLogger("test")).warning("name", "100% of it")
    assert caplog.messages == [f"bad name {one_line(FORGED)}", "100% of it"]


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
