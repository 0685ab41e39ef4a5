"""Takes tokens out of the access logs of web servers, which show URLs: `?token=` stands there."""

import logging
import re
from collections.abc import MutableMapping
from typing import Any
from urllib.parse import unquote_plus

LOGGERS = (
    "uvicorn.access",
    "uvicorn.error",
    "hypercorn.access",
    "hypercorn.error",
    "gunicorn.access",
    "gunicorn.error",
    "granian.access",
    "_granian",
)
"""Those of the servers on which the edge runs."""
_PARAMETER = re.compile(r"(^|[?&;])([^?=&;\s\"]{1,64})=([^&;\s\"]+)")
"""A parameter of a query. Its name may be percent-encoded."""
_REDACTED = "[redacted]"


def redact_access_logs() -> None:
    """Have the servers' loggers, whoever configures them, show no token in a URL."""
    for name in LOGGERS:
        logger = logging.getLogger(name)
        # The same filter is added once.
        logger.addFilter(_redact)


def redacted(text: str) -> str:
    """Return `text` without the values of parameters that are named `token`."""
    return _PARAMETER.sub(_without_token, text) if "=" in text else text


def _without_token(found: re.Match[str]) -> str:
    before, name, _ = found.groups()
    return f"{before}{name}={_REDACTED}" if unquote_plus(name) == "token" else found[0]


def _redact(record: logging.LogRecord) -> bool:
    record.msg, args = _shown(record.msg), record.args
    if isinstance(args, tuple):
        # uvicorn's formatter takes them apart: their number stays.
        record.args = tuple(map(_shown, args))
    elif isinstance(args, MutableMapping):
        for name, value in args.items():
            args[name] = _shown(value)
    return True


def _shown(value: Any) -> Any:
    return redacted(value) if isinstance(value, str) else value
