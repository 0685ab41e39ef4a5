"""The error answers of the HTTP API as models, for its documentation, and as exceptions."""

import math
from typing import Any

from fastapi import HTTPException
from pydantic import BaseModel


class Problem(BaseModel):
    """An error answer."""

    detail: str | list[Any]
    """A text; of a parameter out of its bounds, FastAPI's list of errors."""


class EventProblem(Problem):
    """An error about one event of a request; none of its events was taken."""

    index: int | None = None
    """Of the event, from 0; null if the request as a whole is wrong."""
    field: str = ""
    """The field of the event."""


class UnsureProblem(Problem):
    """The edge could not do it now."""

    ids: list[str] = []
    """Of events that were taken, and may still arrive; empty if none will."""


class RefusedEvent(Exception):  # noqa: N818
    """Answers with an `EventProblem`."""

    def __init__(self, status: int, detail: str, index: int | None = None, field: str = "") -> None:
        super().__init__(detail)
        self.status_code = status
        self.problem = EventProblem(detail=detail, index=index, field=field)


DESCRIPTIONS = {
    400: "The request cannot be read",
    401: "No valid credential",
    403: "Not permitted",
    404: "There is no such stream",
    409: "The Idempotency-Key came with another body before",
    413: "The body is too large",
    422: "The request is not understood",
    429: "Too many; see Retry-After",
    503: "Not possible now; see Retry-After",
}


def responses(*statuses: int, model: type[BaseModel] = Problem) -> dict[int | str, dict[str, Any]]:
    """Return the documentation of error answers."""
    return {
        status: {
            "model": model,
            "description": DESCRIPTIONS[status],
            **({"headers": {"Retry-After": RETRY_AFTER}} if status in (429, 503) else {}),
        }
        for status in statuses
    }


RETRY_AFTER = {"description": "Seconds", "schema": {"type": "integer"}}


def try_later(status: int, detail: str, wait_s: float) -> HTTPException:
    """Return the answer that the client should come back after `wait_s` seconds."""
    return HTTPException(status, detail, retry_after(wait_s))


def retry_after(wait_s: float) -> dict[str, str]:
    """Return the header of an answer after which the client should wait."""
    return {"Retry-After": str(max(1, math.ceil(wait_s)))}
