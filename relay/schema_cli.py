"""`event-relay schema`: the registered contracts, for programs in other languages."""

import json
from collections.abc import Callable
from importlib.metadata import version

import click

from relay.shared.contract_modules import EXAMPLE, load_contracts
from relay.shared.settings import SettingsError, refuse
from relay.wire.asyncapi import AsyncApiServer, asyncapi
from relay.wire.contracts import CONTRACTS
from relay.wire.schema_export import json_schema, typescript

PROGRAM = "event-relay"
DEFAULT_SERVER = "127.0.0.1:8000"

FORMATS: dict[str, Callable[[], str]] = {
    "jsonschema": lambda: _json(json_schema(CONTRACTS)),
    "typescript": lambda: typescript(CONTRACTS).rstrip("\n"),
    "asyncapi": lambda: _json(
        asyncapi(CONTRACTS, AsyncApiServer(DEFAULT_SERVER), version(PROGRAM))
    ),
}


@click.command(short_help="Print the models of events.")
@click.option(
    "--format",
    "wanted",
    type=click.Choice(tuple(FORMATS)),
    default="jsonschema",
    show_default=True,
)
@click.option(
    "--import",
    "modules",
    multiple=True,
    metavar="MODULE",
    help="A module that registers models, such as myapp.events; may be given several times."
    f" [default: {EXAMPLE}, the events of the catalogue]",
)
def schema(wanted: str, modules: tuple[str, ...]) -> None:
    """Print the models that the modules register with @event, as one document.

    \b
    Examples:
      event-relay schema --import myapp.events > events.schema.json
      event-relay schema --format typescript --import myapp.events > events.ts
    """
    try:
        load_contracts(modules or (EXAMPLE,), "--import")
        text = FORMATS[wanted]()
    except SettingsError as error:
        refuse(PROGRAM, error)
    click.echo(text)


def _json(document: object) -> str:
    return json.dumps(document, indent=2)
