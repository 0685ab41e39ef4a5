"""Fixtures of the emitter's tests: a scripted relay, and an emitter that talks to it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from emitters import Emitter
from tests.support.raw_relay import RawRelay


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[RawRelay]:
    with RawRelay(tmp_path) as relay:
        yield relay


@pytest.fixture
def emitter(relay: RawRelay) -> Iterator[Emitter]:
    emitter = Emitter(name="manager-1", ingress=relay.ingress, control=relay.control)
    yield emitter
    emitter.close(0)
