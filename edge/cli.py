"""`event-edge`: run the edge, make tokens, manage users."""

import contextlib
import logging
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import click
import uvicorn
from starlette.types import ASGIApp
from uvicorn.importer import import_from_string

from edge.config import EdgeSettings
from edge.core.identity.tokens import is_encodable
from edge.http.token_files import check_tokens
from edge.listener import listening
from edge.process import (
    PROGRAM,
    configure_logging,
    descriptor_room,
    warn_of_too_few_descriptors,
    warn_of_too_little_memory,
)
from edge.revoke_cli import revoke
from edge.server import serve
from edge.tls import CertificateFiles, TlsConfig
from edge.users_cli import ROLE, user
from edge.verifier import keys_of, verifier_of
from edge.websocket.front_door import FrontDoor
from relay.shared.addresses import parse_listen_address
from relay.shared.config_file import read_config_file
from relay.shared.console import Program
from relay.shared.contract_modules import load_contracts
from relay.shared.settings import SettingsError, load_for, refuse
from relay.shared.shown_config import shown_config
from relay.wire.kinds import Kinds

GRACEFUL_SHUTDOWN_S = 3
MAX_TTL_S = 100 * 365 * 86400

logger = logging.getLogger(__name__)


@click.group(PROGRAM, cls=Program, invoke_without_command=True)
@click.version_option(package_name="event-relay", prog_name=PROGRAM)
@click.pass_context
def main(context: click.Context) -> None:
    """Forward events to authenticated WebSocket clients. Without a command, run the edge.

    Settings come from the environment, and from [edge] in relay.toml: EDGE_HOST, EDGE_PORT,
    EDGE_WORKERS, EDGE_RELAY_EGRESS, EDGE_RELAY_CONTROL, EDGE_TOPIC_PREFIXES, EDGE_DATA_DIR,
    EDGE_JWT_SECRET, EDGE_USERS_FILE and those that docs/operations.md lists.
    """
    if context.invoked_subcommand is None:
        run()


def run() -> None:
    """Run the edge until SIGTERM or SIGINT."""
    settings = _settings()
    configure_logging(settings)
    try:
        kinds = read_config_file().kinds
        if kinds.presence:
            # Its workers will emit. Others import no emitter before they need one.
            from edge.host.publisher import check_emitter_settings

            check_emitter_settings()
        keys_of(settings)
        settings.users()
        check_tokens(settings)
        load_contracts(settings.contracts, "EDGE_CONTRACTS")
        tls = _certificate_files(settings)
        room = descriptor_room(settings.max_connections)
        with listening(settings, room.backlog) as listener:
            url = parse_listen_address(settings.host).url(settings.port, is_encrypted=bool(tls))
            # Only now: a refusal is one line.
            warn_of_too_few_descriptors(room, settings.max_connections)
            warn_of_too_little_memory(settings)
            logger.info("serving %s with %d worker(s)", url, settings.workers)
            with _siblings_directory(settings.workers) as siblings:
                make_app = partial(_create_worker_app, settings, kinds, siblings)
                serve(_server_config(settings, room.backlog, make_app, tls), listener)
    except SettingsError as error:
        refuse(PROGRAM, error)


@contextlib.contextmanager
def _siblings_directory(workers: int) -> Iterator[Path | None]:
    """Make the directory in which several workers find each other; remove it at the end."""
    if workers == 1:
        yield None
        return
    try:
        directory = tempfile.TemporaryDirectory(prefix="event-edge-")
    except OSError as error:
        logger.warning("TMPDIR: each worker answers /metrics for itself: %s", error)
        yield None
        return
    with directory as path:
        yield Path(path)


def _server_config(
    settings: EdgeSettings,
    backlog: int,
    make_app: Callable[[], ASGIApp],
    tls: CertificateFiles | None,
) -> uvicorn.Config:
    config = uvicorn.Config if tls is None else partial(TlsConfig, files=tls)
    return config(
        make_app,
        factory=True,
        workers=settings.workers,
        http=FrontDoor,
        # Refuses WebSockets at other paths; those at `/ws` are the front door's.
        ws="websockets-sansio",
        ws_max_size=settings.max_message_bytes,
        ws_per_message_deflate=False,
        backlog=backlog,
        timeout_graceful_shutdown=GRACEFUL_SHUTDOWN_S,
        access_log=False,
        log_config=None,
        server_header=False,
        # `ForwardedRequests` reads them, by EDGE_TRUSTED_PROXIES.
        proxy_headers=False,
    )


def _certificate_files(settings: EdgeSettings) -> CertificateFiles | None:
    """Return the files for TLS, which can be used; None without TLS. Raises `SettingsError`."""
    if settings.tls_cert is None:
        if settings.tls_key is not None:
            raise SettingsError("EDGE_TLS_CERT: is missing beside EDGE_TLS_KEY")
        return None
    # Absolute: the files are read again and again. Many tools write both into one.
    certificate = settings.tls_cert.absolute()
    files = CertificateFiles(certificate, (settings.tls_key or certificate).absolute())
    files.context()
    return files


def _create_worker_app(settings: EdgeSettings, kinds: Kinds, siblings: Path | None) -> ASGIApp:
    # By name: `event-edge token` and the like need neither FastAPI nor libzmq.
    create: Callable[..., ASGIApp] = import_from_string("edge.app:create_worker_app")
    return create(settings, kinds, siblings)


@main.command()
def config() -> None:
    """Print the kinds of topics and the settings, each with where it comes from."""
    settings = _settings()
    for line in shown_config(settings, read_config_file()):
        click.echo(line)


@main.command()
@click.argument("username")
@ROLE
@click.option(
    "--ttl",
    type=click.IntRange(min=1, max=MAX_TTL_S),
    default=3600,
    show_default=True,
    help="Seconds of validity.",
)
def token(username: str, role: str, ttl: int) -> None:
    """Print a token for scripts, signed with EDGE_JWT_SECRET or the secret in EDGE_DATA_DIR."""
    if not username or not is_encodable(username):
        raise click.BadParameter("must be text in UTF-8", param_hint="USERNAME")
    try:
        tokens = verifier_of(_settings(), None).tokens
    except SettingsError as error:
        refuse(PROGRAM, error)
    if tokens is None or not tokens.can_issue:
        refuse(PROGRAM, "EDGE_JWT_ALGORITHMS: lacks HS256, so this edge issues no tokens")
    now = time.time()
    click.echo(tokens.issue(username, role, int(now) + ttl, now))


main.add_command(user)
main.add_command(revoke)


def _settings() -> EdgeSettings:
    return load_for(PROGRAM, EdgeSettings)
