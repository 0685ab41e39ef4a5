"""Modules of the programs that begin in forks (`tests.support.forked`)."""

import gc
from importlib import import_module

MODULES = (
    "edge.app",
    "edge.cli",
    "edge.host.publisher",
    "edge.uvicorn",
    "edge.worker",
    "emitters.cli",
    "emitters.commands.edge_tail",
    "relay.cli",
    "tests.support.forked",
)

for name in MODULES:
    import_module(name)
# Forks share the pages of all this while no collection of garbage writes there.
gc.collect()
gc.freeze()
