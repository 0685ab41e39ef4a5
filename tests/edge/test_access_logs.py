"""No token is left in an access log, under whatever server and however it is written."""

import logging

import pytest

from edge.access_logs import LOGGERS, redact_access_logs, redacted


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/ws?token=a.b-c_d", "/ws?token=[redacted]"),
        ("GET /ws?x=1&token=a.b&y=2 HTTP/1.1", "GET /ws?x=1&token=[redacted]&y=2 HTTP/1.1"),
        ("/ws?token=a&token=b", "/ws?token=[redacted]&token=[redacted]"),
        ("/ws?%74oke%6E=a.b", "/ws?%74oke%6E=[redacted]"),
        ("token=a.b&x=1", "token=[redacted]&x=1"),
        ('"WebSocket /ws?token=a.b" [accepted]', '"WebSocket /ws?token=[redacted]" [accepted]'),
        ("/ws?token==a.b", "/ws?token=[redacted]"),
        ("/ws?TOKEN=a&tokens=b&x=token", "/ws?TOKEN=a&tokens=b&x=token"),
        ("/ws?token=", "/ws?token="),
        ("nothing", "nothing"),
        ("", ""),
    ],
)
def test_the_values_of_tokens_are_taken_out(text: str, shown: str) -> None:
    assert redacted(text) == shown


@pytest.mark.parametrize("name", LOGGERS)
def test_records_keep_their_form(name: str, caplog: pytest.LogCaptureFixture) -> None:
    redact_access_logs()
    redact_access_logs()
    logger = logging.getLogger(name)
    logger.addHandler(caplog.handler)
    try:
        logger.error('%s - "%s %s" %d', "peer", "GET", "/ws?token=a.b", 200)
        logger.error("%(path)s %(status)d", {"path": "/ws?token=c.d", "status": 200})
        logger.error("/ws?token=e.f")
    finally:
        logger.removeHandler(caplog.handler)
    messages = {record.getMessage() for record in caplog.records}
    assert messages == {
        'peer - "GET /ws?token=[redacted]" 200',
        "/ws?token=[redacted] 200",
        "/ws?token=[redacted]",
    }
