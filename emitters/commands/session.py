"""Options, emitter and error messages that the commands of `event-emit` share."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from emitters.emitter import Emitter
from emitters.errors import EmitterError
from emitters.tasks import TasksRefused
from relay.shared.logs import one_line
from relay.shared.seconds import SECONDS
from relay.shared.settings import SettingsError, refuse
from relay.wire.errors import InvalidEnvelope, InvalidTopic, WireError

PROGRAM = "event-emit"
EXIT_UNREACHABLE = 1
EXIT_BAD_INPUT = 2
DEFAULT_NAME = "event-emit"

C = TypeVar("C", bound=Callable[..., Any])


def relay_options(command: C) -> C:
    """Add the options for the relay's addresses, the time to wait for it, and the spool."""
    for option in (
        click.option(
            "--spool",
            metavar="PATH",
            help="Keep events in this file until the relay has them [env: EMITTER_SPOOL].",
        ),
        click.option(
            "--timeout",
            type=SECONDS,
            default=5.0,
            show_default=True,
            metavar="SECONDS",
            help="How long to wait for the relay.",
        ),
        click.option(
            "--name",
            envvar="EMITTER_NAME",
            default=DEFAULT_NAME,
            show_default=True,
            help="The source of the events [env: EMITTER_NAME].",
        ),
        click.option(
            "--control",
            metavar="ENDPOINT",
            help="Where the relay answers [env: EMITTER_RELAY_CONTROL].",
        ),
        click.option(
            "--ingress",
            metavar="ENDPOINT",
            help="Where the relay takes events [env: EMITTER_RELAY_INGRESS].",
        ),
    ):
        command = option(command)
    return command


@contextmanager
def open_emitter(*, block_timeout_s: float | None = None, **settings: Any) -> Iterator[Emitter]:
    """Yield an emitter; a setting that cannot be used ends the program with exit code 2.

    The body closes it if events must still go out; events that wait at its end are given up.
    Several programs may run at once under one name.
    """
    try:
        emitter = Emitter(block_timeout_s=block_timeout_s, **settings)
    except SettingsError as error:
        refuse(PROGRAM, error)
    try:
        yield emitter
    except (EmitterError, TasksRefused) as error:
        raise NotTaken(error) from None
    except KeyboardInterrupt:
        say(_left_behind(emitter.close(timeout=0), emitter.spool))
        raise
    finally:
        emitter.close(timeout=0)


def _left_behind(left: int, spool: Path | None) -> str:
    events = "1 event" if left == 1 else f"{left} events"
    fate = "not sent" if spool is None else f"kept in the spool {spool}"
    return f"interrupted; {events} {fate}"


def say(problem: object) -> None:
    """Write one line on standard error; text in it may come from an edge."""
    click.echo(f"{PROGRAM}: {one_line(str(problem))}", err=True)


def explain(error: WireError) -> str:
    """Return the fault of an event as text that starts with the field."""
    if isinstance(error, InvalidTopic):
        return f"topic: {error}"
    if isinstance(error, InvalidEnvelope):
        return str(error)
    return f"event: {error}"


class Unreachable(click.ClickException):
    """The relay cannot be reached within the time given."""

    exit_code = EXIT_UNREACHABLE

    def __init__(self, timeout: float, consequence: str) -> None:
        super().__init__(f"the relay cannot be reached within {timeout:g} s; {consequence}")

    def show(self, file: Any = None) -> None:
        say(self.message)


class NotTaken(click.ClickException):
    """The emitter takes no events; the text gives its reason."""

    exit_code = EXIT_UNREACHABLE

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))

    def show(self, file: Any = None) -> None:
        say(self.message)


class BadInput(click.ClickException):
    """The input cannot be published; the text names the field."""

    exit_code = EXIT_BAD_INPUT

    def show(self, file: Any = None) -> None:
        say(self.message)
