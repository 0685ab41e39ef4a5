"""Modules of the programs that begin in forks (`tests.support.forked`)."""

import gc
from importlib import import_module

MODULES = (
    # Not `relay.wire.catalogue`: it registers contracts, which not every program has.
    "edge.app",
    "edge.cli",
    "edge.host.publisher",
    "edge.uvicorn",
    "edge.worker",
    "emitters.cli",
    "emitters.commands.edge_tail",
    "relay.cli",
    "tests.support.forked",
    # Libraries load these when a server starts.
    "anyio._backends._asyncio",
    "encodings.idna",
    "fastapi.telemetry._runtime",
    "pydantic.v1",
    "uvicorn.lifespan.on",
    "uvicorn.loops.uvloop",
    "uvicorn.protocols.websockets.websockets_sansio_impl",
)

for name in MODULES:
    import_module(name)
# Forks share the pages of all this while no collection of garbage writes there.
gc.collect()
gc.freeze()
