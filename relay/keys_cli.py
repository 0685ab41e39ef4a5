"""`event-relay keys`: makes and shows the keys of those who connect to a relay."""

from pathlib import Path

import click

from relay.shared.curve_keys import new_key_pair, read_key_file, write_key_file
from relay.shared.peer_table import NAME_FORM
from relay.wire.peers import is_peer_name


@click.group(short_help="Make keys for encrypted connections to the relay.")
def keys() -> None:
    """Make and show keys for connections to the relay over TCP.

    Each process, or each group of processes with the same rights, has a key file of its own. The
    relay's relay.toml lists their public keys, and they name the relay's.
    """


@keys.command()
@click.argument("name")
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    help="Where to write NAME.key; the current directory by default.",
)
def new(name: str, directory: Path) -> None:
    """Make a key, write it to NAME.key, and print the public part."""
    if not is_peer_name(name):
        raise click.UsageError(f"NAME has {NAME_FORM}")
    pair = new_key_pair()
    path = directory / f"{name}.key"
    try:
        write_key_file(path, name, pair)
    except FileExistsError:
        raise click.UsageError(f"{path} exists already, and stays as it is") from None
    except OSError as error:
        raise click.UsageError(f"{path} cannot be written: {error.strerror}") from None
    click.echo(pair.public.hex())


@keys.command()
@click.argument("file", type=click.Path(path_type=Path))
def show(file: Path) -> None:
    """Print the public part of the key in FILE."""
    try:
        click.echo(read_key_file(file).public.hex())
    except ValueError as error:
        raise click.UsageError(f"{file} {error}") from None
