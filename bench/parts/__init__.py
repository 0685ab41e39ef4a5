"""The parts of the benchmark, one question a module; each returns its section of the report."""

from collections.abc import Callable, Mapping

from bench.parts import (
    browser,
    fanout,
    many,
    one_client,
    relay,
    resume,
    rogue,
    saturated,
    scaling,
    slow,
    storm,
    workers,
)
from bench.peers.peer import Peer
from bench.report import Section

PARTS: dict[str, Callable[[Mapping[str, Peer]], Section]] = {
    "fanout": fanout.measure,
    "saturated": saturated.measure,
    "many": many.measure,
    "one-client": one_client.measure,
    "storm": storm.measure,
    "slow": slow.measure,
    "scaling": scaling.measure,
    "workers": workers.measure,
    "browser": browser.measure,
    "relay": relay.measure,
    "resume": resume.measure,
    "rogue": rogue.measure,
}
