"""`event-edge revoke`: ends tokens before they expire."""

import asyncio
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import click

from edge.channel import RelayAway
from edge.config import EdgeSettings
from edge.core.identity.tokens import InvalidToken
from edge.process import PROGRAM
from edge.verifier import verifier_of
from relay.shared.settings import SettingsError, load_for, refuse
from relay.wire.errors import WireError
from relay.wire.revocations import Revocation
from relay.wire.usernames import normal_username

MAX_FILE_BYTES = 64 * 1024


def _time(_: click.Context, __: click.Parameter, text: str | None) -> int:
    """Return the time in milliseconds, 0 for now."""
    if text is None:
        return 0
    try:
        seconds = float(text)
    except ValueError:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise click.BadParameter(
                "must be a time such as 2026-01-31T12:00:00Z, or Unix seconds"
            ) from None
        seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if not 0 < seconds <= time.time():
        raise click.BadParameter("must be a time in the past")
    return int(seconds * 1000)


@click.command()
@click.option("--user", "username", metavar="USERNAME", help="All tokens of this user.")
@click.option("--token-id", metavar="ID", help="The token with this `jti`.")
@click.option(
    "--token-file", type=click.Path(dir_okay=False), help="The token in this file, or - for stdin."
)
@click.option("--all", "everybody", is_flag=True, help="All tokens of all users.")
@click.option(
    "--before",
    metavar="TIME",
    callback=_time,
    help="With --user and --all: tokens that were issued until then, not until now.",
)
def revoke(
    username: str | None,
    token_id: str | None,
    token_file: str | None,
    everybody: bool,
    before: int,
) -> None:
    """Refuse tokens from now on, and close what was opened with them, on all edges.

    It speaks to the relay, which keeps revocations, and needs no edge.
    """
    given = [each for each in (username, token_id, token_file) if each is not None]
    if len(given) + everybody != 1:
        raise click.UsageError("name one of --user, --token-id, --token-file and --all")
    if before and not (username or everybody):
        raise click.UsageError("--before concerns --user and --all")
    settings = load_for(PROGRAM, EdgeSettings)
    if token_file is not None:
        revocation = _of_token(settings, token_file)
    else:
        name = None if username is None else normal_username(username)
        revocation = Revocation(before, name, token_id)
    try:
        publish(settings, revocation)
    except (RelayAway, WireError) as error:
        raise click.ClickException(str(error)) from None
    click.echo("Revoked.")


def publish(settings: EdgeSettings, revocation: Revocation) -> None:
    """Have the relay take a revocation. Raises `RelayAway` and `WireError`."""
    # Only here: other commands need neither libzmq nor an event loop.
    from edge.host.publisher import revoke_now

    try:
        asyncio.run(revoke_now(settings, revocation))
    except SettingsError as error:
        refuse(PROGRAM, error)


def _of_token(settings: EdgeSettings, path: str) -> Revocation:
    """Return the revocation of the token in a file, which is not shown and not kept."""
    try:
        if path == "-":
            content = sys.stdin.buffer.read(MAX_FILE_BYTES)
        else:
            with Path(path).open("rb") as file:
                content = file.read(MAX_FILE_BYTES)
        tokens, provider = verifier_of(settings, None)
        assert tokens is not None
        if provider is not None and provider.keys is None:
            provider.read_or_log()
        identity = tokens.verify(content.decode("ascii").strip(), time.time())
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror}") from None
    except (InvalidToken, UnicodeDecodeError):
        raise click.ClickException("that is no token that is valid here") from None
    except SettingsError as error:
        refuse(PROGRAM, error)
    return Revocation(0, identity.username, identity.token_id, identity.expires_at * 1000)
