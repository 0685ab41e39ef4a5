"""The edge as an application of its own."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from relay.shared.extras import extra

with extra("edge"):
    from fastapi import FastAPI
    from starlette.types import ASGIApp

    from edge.channel import Teamwork
    from edge.config import EdgeSettings
    from edge.core.identity.access import Access, Identity
    from edge.core.identity.revocations import Revocations
    from edge.host.publisher import Publisher, check_emitter_settings
    from edge.http.token_files import check_tokens
    from edge.process import (
        PROGRAM,
        configure_logging,
        descriptor_room,
        prepare_worker_process,
        warn_of_too_few_descriptors,
        warn_of_too_little_memory,
    )
    from edge.routes import Backend, Parts, build, own_sign_in
    from edge.rules import Rules
    from edge.serving import Serving
    from edge.verifier import keys_of, verifier_of
    from edge.websocket.asgi import serve_websocket
    from edge.websocket.http_connection import Entrance
    from edge.worker import Worker
    from relay.shared.config_file import read_config_file
    from relay.shared.contract_modules import load_contracts
    from relay.shared.settings import SettingsError, load, refuse
    from relay.shared.watched_config import WatchedConfig
    from relay.wire.kinds import Kinds
    from relay.wire.topics import Pattern

Decided = tuple[Rules, Access]
"""The rules, and what decides by them."""

logger = logging.getLogger(__name__)


def create_app(settings: EdgeSettings | None = None, kinds: Kinds | None = None) -> ASGIApp:
    """Return the application, with the settings of the environment unless `settings` are given.

    For any ASGI server: `uvicorn --factory edge.app:create_app`. A wrong setting ends the process
    with one line and exit code 2. `kinds` are those of `relay.toml` unless given.
    """
    try:
        file = WatchedConfig() if kinds is None else None
        kinds = read_config_file().kinds if kinds is None else kinds
        if kinds.presence:
            check_emitter_settings()
    except SettingsError as error:
        refuse(PROGRAM, error)
    if settings is None:
        try:
            settings = load(EdgeSettings)
            configure_logging(settings)
            keys_of(settings)
            settings.users()
            check_tokens(settings)
            load_contracts(settings.contracts, "EDGE_CONTRACTS")
            room = descriptor_room(settings.max_connections)
        except SettingsError as error:
            refuse(PROGRAM, error)
        if settings.tls_cert is not None:
            logger.warning("EDGE_TLS_CERT: this server speaks TLS by its own options only")
        warn_of_too_few_descriptors(room, settings.max_connections)
        warn_of_too_little_memory(settings)
    return _build_app(settings, Rules.decided_by(kinds, file))


def create_worker_app(settings: EdgeSettings, kinds: Kinds, siblings: Path | None) -> ASGIApp:
    """Return the application of a worker of `event-edge`, which has read `settings` and `kinds`.

    So all workers have the same, also one that starts again after `relay.toml` has changed; the
    rules in it are read again.
    `siblings` is the directory in which the workers of the edge find each other.
    """
    prepare_worker_process()
    configure_logging(settings)
    return _build_app(settings, Rules.decided_by(kinds, WatchedConfig()), siblings)


def _build_app(settings: EdgeSettings, decided: Decided, siblings: Path | None = None) -> ASGIApp:
    rules, access = decided
    kinds = rules.kinds
    revocations = Revocations()
    verifier = verifier_of(settings, revocations)
    tokens = verifier.tokens
    assert tokens is not None
    load_contracts(settings.contracts, "EDGE_CONTRACTS")
    publisher = Publisher(settings)
    teamwork = Teamwork(publisher, kinds.presence, revocations)

    def make_worker() -> Worker:
        worker = Worker(settings, tokens, access, asyncio.get_running_loop(), teamwork)
        worker.stats.list_kinds(kinds.names)
        worker.rules = rules
        return worker

    @contextlib.asynccontextmanager
    async def beside() -> AsyncIterator[None]:
        with verifier.running():
            async with contextlib.aclosing(publisher):
                yield

    serving = Serving(make_worker, siblings, owns_process=True, beside=beside)
    serving.entrance = Entrance(max_publish_bytes=settings.max_publish_bytes)

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        async with serving.running() as state:
            yield state

    async def selectors(identity: Identity, pattern: Pattern) -> tuple[Pattern, ...]:
        return access.selectors(identity, pattern)

    identify, sign_in = own_sign_in(settings, tokens, publisher)
    backend = Backend(publisher, teamwork, selectors)
    parts = Parts(settings, rules, access, identify, identify.known, sign_in, backend)
    return serving.wrap(build(parts, serve_websocket, lifespan=lifespan)[1])
