"""`EdgeWorker`, for `gunicorn -k edge.gunicorn.EdgeWorker` (needs `uvicorn-worker`)."""

from typing import Any, ClassVar

from uvicorn_worker import UvicornWorker

from edge.uvicorn import http


class EdgeWorker(UvicornWorker):  # type: ignore[misc]
    """uvicorn's worker with our HTTP protocol."""

    CONFIG_KWARGS: ClassVar[dict[str, Any]] = {
        "http": http,
        "ws": "websockets-sansio",
    }
