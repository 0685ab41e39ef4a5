"""`event-edge`: run the edge, make tokens, manage users."""

import asyncio
import contextlib
import logging
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NoReturn

import click
import uvicorn
from starlette.types import ASGIApp
from uvicorn.importer import import_from_string

from edge.channel import RelayAway
from edge.config import EdgeSettings
from edge.core.identity.access import DEFAULT_ROLE
from edge.core.identity.tokens import Tokens, is_encodable
from edge.http.token_files import check_tokens
from edge.http.users import UsersError, UsersFile, generated_password
from edge.listener import listening
from edge.process import (
    PROGRAM,
    configure_logging,
    descriptor_room,
    warn_of_too_few_descriptors,
    warn_of_too_little_memory,
)
from edge.server import serve
from edge.tls import CertificateFiles, TlsConfig
from edge.websocket.front_door import FrontDoor
from relay.shared.addresses import parse_listen_address
from relay.shared.config_file import FILE_NAME, read_config_file
from relay.shared.console import BOM, Program
from relay.shared.contract_modules import load_contracts
from relay.shared.settings import SettingsError, load_for, refuse
from relay.shared.shown_config import shown_config
from relay.wire.errors import WireError
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
        settings.secret()
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


def _check_role(_: click.Context, __: click.Parameter, role: str) -> str:
    """Return `role`, if it is one of those that `relay.toml` knows."""
    try:
        known = read_config_file().kinds.roles
    except SettingsError as error:
        refuse(PROGRAM, error)
    if role not in known:
        raise click.BadParameter(
            f"{role!r} is none of {', '.join(known)}. A role exists when [kinds.<kind>] in"
            f" {FILE_NAME} has it in subscribe or publish"
        )
    return role


ROLE = click.option(
    "--role", metavar="ROLE", default=DEFAULT_ROLE, show_default=True, callback=_check_role
)


PASSWORD_STDIN = click.option(
    "--password-stdin", is_flag=True, help="Read the password from standard input, for scripts."
)


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
        tokens = Tokens(_settings().secret())
    except SettingsError as error:
        refuse(PROGRAM, error)
    click.echo(tokens.issue(username, role, int(time.time()) + ttl))


@main.group()
def user() -> None:
    """Add, remove and list the users in EDGE_USERS_FILE, and end their connections."""


@user.command("add")
@click.argument("username")
@ROLE
@PASSWORD_STDIN
@click.option("--generate", is_flag=True, help="Make a random password, and print it.")
@click.option("--if-first", is_flag=True, help="Change nothing if there is any user.")
def add_user(
    username: str, role: str, password_stdin: bool, generate: bool, if_first: bool
) -> None:
    """Add a user, or change the password and role of one. Asks for the password."""
    users, path = _users(), _settings().users_path
    try:
        if if_first and users.list():
            click.echo(f"{path} has users already; none is changed.")
            return
        password = generated_password() if generate else _new_password(password_stdin)
        is_new = users.add(username, password, role, if_first=if_first)
    except UsersError as error:
        _fail(error)
    if if_first and not is_new:
        return  # Another process was first.
    click.echo(f"{'Added' if is_new else 'Updated'} {username} ({role}).")
    if generate:
        click.echo(f"The password of {username} is {password} (it is not shown again).")


@user.command("passwd")
@click.argument("username")
@PASSWORD_STDIN
def change_password(username: str, password_stdin: bool) -> None:
    """Change the password of a user, and keep the role. Asks for the password."""
    try:
        _users().set_password(username, _new_password(password_stdin))
    except UsersError as error:
        _fail(error)
    click.echo(f"Changed the password of {username}.")


def _new_password(is_at_stdin: bool) -> str:
    """Return the password at standard input, else ask for one."""
    if not is_at_stdin:
        asked: str = click.prompt("Password", hide_input=True, confirmation_prompt=True)
        return asked
    line = sys.stdin.buffer.readline().removeprefix(BOM).rstrip(b"\r\n")
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise click.ClickException(
            f"the password is not UTF-8: {error.reason} at byte {error.start}"
        ) from None


@user.command("remove")
@click.argument("username")
def remove_user(username: str) -> None:
    """Remove a user. Tokens made before stay valid until they expire."""
    try:
        _users().remove(username)
    except UsersError as error:
        _fail(error)
    click.echo(f"Removed {username}.")


@user.command("list")
def list_users() -> None:
    """List the users and their roles."""
    try:
        users = _users().list()
    except UsersError as error:
        _fail(error)
    for name, entry in sorted(users.items()):
        click.echo(f"{name}\t{entry.role}")


@user.command("disconnect")
@click.argument("username")
def disconnect_user(username: str) -> None:
    """Close the present connections of a user, on all workers of all edges.

    Tokens stay valid: connections that are made afterwards stay. It speaks to the relay, as the
    edge does, and needs no edge.
    """
    # Only here: other commands need neither libzmq nor an event loop.
    from edge.host.publisher import disconnect_now

    settings = _settings()
    try:
        asyncio.run(disconnect_now(settings, username))
    except SettingsError as error:
        refuse(PROGRAM, error)
    except (RelayAway, WireError) as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"Disconnected {username}.")


def _users() -> UsersFile:
    try:
        return UsersFile(_settings().users())
    except SettingsError as error:
        refuse(PROGRAM, error)


def _settings() -> EdgeSettings:
    return load_for(PROGRAM, EdgeSettings)


def _fail(error: UsersError) -> NoReturn:
    raise click.ClickException(str(error))
