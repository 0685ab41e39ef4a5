"""`event-relay journal`: look at the journal, also while a relay writes it."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

import click

from relay.config import RelaySettings
from relay.journal.file import (
    FILE_NAME,
    JournalRefused,
    copy_journal,
    is_in_use,
    restore_journal,
)
from relay.journal.reader import LOST_FRAMES, JournaledEvent, JournalReader, reading_journal
from relay.journal.verify import problems
from relay.shared.console import json_line
from relay.shared.logs import one_line
from relay.shared.settings import load_for, refuse
from relay.wire.envelope import unpack_envelope
from relay.wire.errors import WireError
from relay.wire.header import unpack_header

PROGRAM = "event-relay"
FOLLOW_INTERVAL_S = 0.2
MAX_SHOWN_PROBLEMS = 20


@click.group()
def journal() -> None:
    """Inspect, copy or restore the journal in RELAY_DATA_DIR."""


@journal.command("list")
def list_() -> None:
    """Print the streams with their first and last offsets, and the emitters' cursors."""
    with _reading() as reader:
        click.echo(f"epoch {reader.epoch() or 0}")
        click.echo(f"{'stream':24}{'first':>12}{'last':>12}{'rows':>10}{'bytes':>14}  oldest")
        for line in reader.streams():
            oldest = "" if line.oldest_at is None else _time(line.oldest_at / 1000)
            click.echo(
                f"{line.name:24}{line.first_offset:>12}{line.last_offset:>12}{line.rows:>10}"
                f"{line.stored_bytes:>14}  {oldest}"
            )
        click.echo(f"{'emitter':24}{'sequence':>12}{'epoch':>22}  heard")
        for (_, name, epoch, sequence), heard_at in reader.emitters():
            click.echo(f"{one_line(name):24}{sequence:>12}{epoch:>22}  {_time(heard_at)}")


@journal.command()
@click.argument("stream", default="event")
@click.option(
    "--last",
    "-n",
    type=click.IntRange(min=0),
    default=10,
    show_default=True,
    help="Number of events to start with.",
)
@click.option("--follow", "-f", is_flag=True, help="Print further events as they are journaled.")
def tail(stream: str, last: int, follow: bool) -> None:
    """Print the newest events of STREAM as JSON lines."""
    path = _path()
    position: int | None = None
    while True:
        seen = _state_of(path)
        with _reading() as reader:
            newest = None
            if position is None:
                position, newest = _newest(reader, stream, last)
            # Without `follow`, as many as were asked for: more may be journaled meanwhile.
            position = _print_after(reader, stream, position, None if follow else newest)
            # Polling: SQLite has no notification between processes.
            while follow and is_in_use(path):
                if not _wait():
                    return
                position = _print_after(reader, stream, position)
        while follow and not is_in_use(path) and _state_of(path) == seen:
            if not _wait():
                return
        if not follow:
            return


@journal.command()
def verify() -> None:
    """Check that the file is undamaged, that no offset is missing, and that cursors agree."""
    with _reading() as reader:
        # A damaged file can have millions of problems; the first ones show where it is damaged.
        found = list(islice(problems(reader), MAX_SHOWN_PROBLEMS))
        for problem in found:
            click.echo(one_line(problem), err=True)
        if found:
            raise SystemExit(1)
        for line in reader.streams():
            first, last = line.first_offset, line.last_offset
            click.echo(f"{line.name}: {last - first + 1} events, {first} to {last}")
        click.echo("the journal is whole")


@journal.command()
@click.argument("path", type=click.Path(path_type=Path))
def copy(path: Path) -> None:
    """Write a copy of the journal to PATH. A relay that uses the copy begins a new epoch."""
    try:
        copy_journal(_path(), path)
    except JournalRefused as error:
        refuse(PROGRAM, error)


@journal.command()
@click.argument("path", type=click.Path(path_type=Path))
def restore(path: Path) -> None:
    """Make the copy at PATH the journal. The old journal has to be moved away before."""
    try:
        restore_journal(_path(), path)
    except JournalRefused as error:
        refuse(PROGRAM, error)


def _newest(reader: JournalReader, stream: str, last: int) -> tuple[int, int]:
    """Return the offset before the newest `last` events, and that of the newest one."""
    found = {each.name: each for each in reader.streams()}.get(stream)
    if found is None:
        raise click.ClickException(f"{stream!r} is not a stream of this journal")
    return max(found.first_offset - 1, found.last_offset - last), found.last_offset


def _print_after(
    reader: JournalReader, stream: str, position: int, until: int | None = None
) -> int:
    """Print the events after `position`, up to `until`; return the offset of the last one."""
    for event in reader.events(stream, position):
        if until is not None and event.offset > until:
            break
        if event.frames == LOST_FRAMES:
            click.echo(f"{stream} {event.offset} cannot be read", err=True)
        else:
            click.echo(json_line(as_message(event, stream), sys.stdout))
        position = event.offset
    return position


def _wait() -> bool:
    """Wait for the next look; return False if the user has ended it."""
    try:
        time.sleep(FOLLOW_INTERVAL_S)
    except KeyboardInterrupt:
        return False
    return True


def _state_of(path: Path) -> tuple[int, int]:
    """Return what changes when a relay has written the file at `path`."""
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_ino, found.st_mtime_ns


def as_message(event: JournaledEvent, stream: str) -> dict[str, Any]:
    """Return `event` as `tail` prints it. Raises `WireError`."""
    topic, header, payload = event.frames
    envelope = unpack_envelope(payload, stream)
    message: dict[str, Any] = {
        "type": envelope.type,
        "topic": topic.decode(),
        "data": envelope.data,
        "source": envelope.source,
        "emitted_at": envelope.emitted_at,
        "offset": event.offset,
        "relayed_at": event.relayed_at,
    }
    if envelope.username is not None:
        message["username"] = envelope.username
    if header:
        message["sequence"] = unpack_header(header).sequence
    return message


def _path() -> Path:
    return load_for(PROGRAM, RelaySettings).data_dir / FILE_NAME


@contextmanager
def _reading() -> Iterator[JournalReader]:
    path = _path()
    try:
        with reading_journal(path) as reader:
            yield reader
    except (JournalRefused, WireError) as error:
        refuse(PROGRAM, error)


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).isoformat(" ", "seconds")
