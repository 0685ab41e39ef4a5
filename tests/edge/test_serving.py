"""`Serving`: what is beside the worker begins and ends with it, whoever starts it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from edge.serving import Serving
from edge.worker import WORKER


class Stage:
    """A worker, and what is beside it; both say when they begin and end."""

    def __init__(self) -> None:
        self.happened: list[str] = []
        self.endpoint = None
        self.metrics = None
        self.readiness = SimpleNamespace(trouble=None)

    @contextlib.asynccontextmanager
    async def running(self, *, owns_process: bool) -> AsyncIterator[None]:
        """As the worker."""
        self.happened.append("the worker begins")
        try:
            yield
        finally:
            self.happened.append("the worker ends")

    @contextlib.asynccontextmanager
    async def beside(self) -> AsyncIterator[None]:
        """As a relay."""
        self.happened.append("the relay begins")
        try:
            yield
        finally:
            self.happened.append("the relay ends")


async def by_lifespan(serving: Serving, app: Any) -> None:
    async with serving.running() as state:
        await app({"type": "http", "state": state}, None, None)


async def by_the_first_request(serving: Serving, app: Any) -> None:
    for _ in range(2):
        await app({"type": "http"}, None, None)


@pytest.mark.parametrize("way", [by_lifespan, by_the_first_request])
def test_what_is_beside_the_worker_is_there_before_and_after_it(way: Any) -> None:
    stage: Any = Stage()

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        assert scope["state"][WORKER] is stage

    async def scenario() -> None:
        serving = Serving(lambda: stage, owns_process=False, beside=stage.beside)
        await way(serving, serving.wrap(app))

    asyncio.run(scenario())
    assert stage.happened == [
        "the relay begins",
        "the worker begins",
        "the worker ends",
        "the relay ends",
    ]
