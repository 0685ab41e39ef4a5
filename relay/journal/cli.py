"""`event-relay journal`: look at the journal, also while a relay writes it."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import islice
from pathlib import Path

import click

from relay.config import RelaySettings
from relay.journal.file import FILE_NAME, JournalRefused
from relay.journal.file import restore as restore_copy
from relay.journal.inspection import Inspection, as_message
from relay.shared.settings import SettingsError, load, refuse
from relay.wire.errors import WireError

PROGRAM = "event-relay"
FOLLOW_INTERVAL_S = 0.2
MAX_SHOWN_PROBLEMS = 20


@click.group()
def journal() -> None:
    """Look at the journal in RELAY_DATA_DIR."""


@journal.command("list")
def list_() -> None:
    """Print what there is of each stream, and how far each emitter has come."""
    with _inspection() as inspection:
        click.echo(f"epoch {inspection.epoch}")
        click.echo(f"{'stream':24}{'low':>12}{'tip':>12}{'rows':>10}{'bytes':>14}  oldest")
        for line in inspection.streams():
            oldest = "" if line.oldest_at is None else _time(line.oldest_at / 1000)
            click.echo(
                f"{line.name:24}{line.low:>12}{line.tip:>12}{line.rows:>10}"
                f"{line.stored_bytes:>14}  {oldest}"
            )
        click.echo(f"{'emitter':24}{'sequence':>12}{'epoch':>22}  heard")
        for each in inspection.emitters():
            click.echo(f"{each.name:24}{each.sequence:>12}{each.epoch:>22}  {_time(each.heard_at)}")


@journal.command()
@click.argument("stream", default="event")
@click.option("--last", "-n", default=10, show_default=True, help="How many events to begin with.")
@click.option("--follow", "-f", is_flag=True, help="Go on with what is journaled from now on.")
def tail(stream: str, last: int, follow: bool) -> None:
    """Print the newest events of STREAM, JSON lines."""
    with _inspection() as inspection:
        found = {line.name: line for line in inspection.streams()}.get(stream)
        if found is None:
            raise click.ClickException(f"{stream!r} is not a stream of this journal")
        position = max(found.low - 1, found.tip - max(0, last))
        while True:
            for event in inspection.events(stream, position):
                click.echo(json.dumps(as_message(event), ensure_ascii=False))
                position = event.offset
            if not follow:
                return
            try:
                time.sleep(FOLLOW_INTERVAL_S)
            except KeyboardInterrupt:
                return


@journal.command()
def verify() -> None:
    """Check that the file is whole, that no offset is missing, and that cursors agree."""
    with _inspection() as inspection:
        is_whole = True
        for problem in islice(inspection.problems(), MAX_SHOWN_PROBLEMS):
            click.echo(problem, err=True)
            is_whole = False
        if not is_whole:
            raise SystemExit(1)
        for line in inspection.streams():
            click.echo(f"{line.name}: {line.tip - line.low + 1} events, {line.low} to {line.tip}")
        click.echo("the journal is whole")


@journal.command()
@click.argument("path", type=click.Path(path_type=Path))
def copy(path: Path) -> None:
    """Write a copy to PATH, from which a relay begins a new epoch."""
    with _inspection() as inspection:
        inspection.copy(path)


@journal.command()
@click.argument("path", type=click.Path(path_type=Path))
def restore(path: Path) -> None:
    """Put the copy at PATH back, where no journal is any more."""
    journal = _path()
    try:
        restore_copy(journal, path)
    except JournalRefused as error:
        refuse(PROGRAM, error)


def _path() -> Path:
    try:
        return load(RelaySettings).data_dir / FILE_NAME
    except SettingsError as error:
        refuse(PROGRAM, error)


@contextmanager
def _inspection() -> Iterator[Inspection]:
    path = _path()
    try:
        inspection = Inspection(path)
        try:
            yield inspection
        finally:
            inspection.close()
    except (JournalRefused, WireError) as error:
        refuse(PROGRAM, error)


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).isoformat(" ", "seconds")
