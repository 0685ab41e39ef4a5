"""`python -m relay.demo NAME` runs a demo manager."""

import signal
from pathlib import Path

import click

from emitters import Emitter
from relay.demo.manager import DemoManager
from relay.shared.logs import configure
from relay.shared.settings import SettingsError, refuse
from relay.wire.errors import InvalidTopic
from relay.wire.topics import parse_topic

MAX_WAITING_EVENTS = 10_000


def _server_names(_: click.Context, __: click.Parameter, value: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in value.split(",") if name.strip()))
    if not names:
        raise click.BadParameter("name at least one server")
    for name in names:
        if "/" in name or name.startswith("."):
            raise click.BadParameter(f"{name!r} cannot be a folder's name")
        try:
            parse_topic(f"resource-monitor:{name}")
        except InvalidTopic as error:
            raise click.BadParameter(str(error)) from None
    return names


@click.command()
@click.argument("name")
@click.option(
    "--servers",
    required=True,
    callback=_server_names,
    metavar="NAME,NAME",
    help="Names of the servers, separated by commas.",
)
@click.option(
    "--data-dir",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory for the files and backups of the servers, some megabytes each.",
)
@click.option(
    "--user",
    "users",
    multiple=True,
    required=True,
    help="User whose tasks the backups are; several users take turns.",
)
def main(name: str, servers: tuple[str, ...], data_dir: Path, users: tuple[str, ...]) -> None:
    """Run a manager named NAME that owns small servers and acts on them again and again.

    \b
    Example:
      python -m relay.demo manager-1 --servers survival,creative \\
          --data-dir .run/manager-1 --user alice --user bob
    """
    configure(name, "WARNING")
    try:
        emitter = Emitter(name=name, max_events=MAX_WAITING_EVENTS)
    except SettingsError as error:
        refuse(name, error)
    manager = DemoManager(emitter, servers, data_dir, users)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: manager.stop())
    manager.run()


if __name__ == "__main__":
    main()
