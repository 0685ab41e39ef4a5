"""`event-edge user`: the users in the users file, their tokens and their connections."""

import asyncio
import shlex
import sys
from typing import NoReturn

import click

from edge.channel import RelayAway
from edge.config import EdgeSettings
from edge.core.identity.access import DEFAULT_ROLE
from edge.http.users import UsersError, UsersFile, generated_password
from edge.process import PROGRAM
from edge.revoke_cli import publish
from relay.shared.config_file import FILE_NAME, read_config_file
from relay.shared.console import BOM
from relay.shared.logs import one_line
from relay.shared.settings import SettingsError, load_for, refuse
from relay.wire.errors import WireError
from relay.wire.revocations import Revocation
from relay.wire.usernames import normal_username


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
KEEP_TOKENS = click.option(
    "--keep-tokens", is_flag=True, help="Leave the user's tokens valid until they expire."
)


@click.group()
def user() -> None:
    """Add, remove and list the users in EDGE_USERS_FILE, and end their connections."""


@user.command("add")
@click.argument("username")
@ROLE
@PASSWORD_STDIN
@click.option("--generate", is_flag=True, help="Make a random password, and print it.")
@click.option("--if-first", is_flag=True, help="Change nothing if there is any user.")
@KEEP_TOKENS
def add_user(
    username: str,
    role: str,
    password_stdin: bool,
    generate: bool,
    if_first: bool,
    keep_tokens: bool,
) -> None:
    """Add a user, or change the password and role of one. Asks for the password.

    A change revokes the tokens of the user: it speaks to the relay then.
    """
    users = _users()
    try:
        if if_first and users.list():
            click.echo(f"{_settings().users_path} has users already; none is changed.")
            return
        password = generated_password() if generate else _new_password(password_stdin)
        before = users.verify(username, password)
        is_new = users.add(username, password, role, if_first=if_first)
    except UsersError as error:
        _fail(error)
    if if_first and not is_new:
        return  # Another process was first.
    click.echo(f"{'Added' if is_new else 'Updated'} {username} ({role}).")
    if generate:
        click.echo(f"The password of {username} is {password} (it is not shown again).")
    is_same = before is not None and before.role == role
    if not (is_new or is_same or keep_tokens):
        _revoke_tokens(username)


@user.command("passwd")
@click.argument("username")
@PASSWORD_STDIN
@KEEP_TOKENS
def change_password(username: str, password_stdin: bool, keep_tokens: bool) -> None:
    """Change the password of a user, and keep the role. Asks for the password.

    Another password revokes the tokens of the user: it speaks to the relay then.
    """
    users = _users()
    try:
        password = _new_password(password_stdin)
        is_same = users.verify(username, password) is not None
        users.set_password(username, password)
    except UsersError as error:
        _fail(error)
    click.echo(f"Changed the password of {username}.")
    if not (is_same or keep_tokens):
        _revoke_tokens(username)


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
@KEEP_TOKENS
def remove_user(username: str, keep_tokens: bool) -> None:
    """Remove a user, and revoke the user's tokens: it speaks to the relay."""
    try:
        _users().remove(username)
    except UsersError as error:
        _fail(error)
    click.echo(f"Removed {username}.")
    if not keep_tokens:
        _revoke_tokens(username)


def _revoke_tokens(username: str) -> None:
    try:
        publish(_settings(), Revocation(0, normal_username(username)))
    except (RelayAway, WireError) as error:
        raise click.ClickException(
            f"the user's tokens stay valid until they expire: {error}. Once it is there, run"
            f" {PROGRAM} revoke --user {shlex.quote(username)}"
        ) from None


@user.command("list")
def list_users() -> None:
    """List the users and their roles."""
    try:
        users = _users().list()
    except UsersError as error:
        _fail(error)
    for name, entry in sorted(users.items()):
        click.echo(f"{one_line(name)}\t{one_line(entry.role)}")


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
