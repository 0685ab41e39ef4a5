"""One connected viewer of the test's world."""

import pytest

from tests.edge.world import Viewer, World


@pytest.fixture
def alice(world: World) -> Viewer:
    viewer = Viewer(world, "alice")
    viewer.connect()
    viewer.read()
    return viewer
