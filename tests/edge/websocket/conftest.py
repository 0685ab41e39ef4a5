"""Scenarios on every event loop, and on every road."""

import pytest

from tests.edge.websocket.stage import LOOPS, ROADS, Play, play_on


@pytest.fixture(params=sorted(LOOPS))
def play(request: pytest.FixtureRequest) -> Play:
    """Run a scenario on either event loop, with a deadline."""
    return lambda scenario: play_on(request.param, scenario)


@pytest.fixture(params=[(loop, road) for loop in sorted(LOOPS) for road in ROADS], ids="-".join)
def play_on_roads(request: pytest.FixtureRequest) -> Play:
    """The same, with clients on sockets and on an ASGI server."""
    loop, road = request.param
    return lambda scenario: play_on(loop, scenario, road=road)
