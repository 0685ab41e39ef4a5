"""`event-emit`: publish events, watch them, and run commands as tasks, from a shell.

The commands themselves are in `emitters.commands`.
"""

from typing import Any

import click

from emitters.commands.publish import publish
from emitters.commands.tail import tail
from emitters.commands.task import task
from relay.shared.console import Program


class PublishByDefault(Program):
    """A group whose `publish` command needs no name: a topic contains `:`, a command never does."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or ":" in args[0] or (args[0].startswith("-") and not _is_ours(args[0])):
            args = ["publish", *args]
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in self.commands:
            names = ", ".join(self.commands)
            raise click.UsageError(
                f"{args[0]!r} is neither a topic, which is kind:name, nor a command ({names})", ctx
            )
        return super().resolve_command(ctx, args)

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for number, line in enumerate(_USAGE):
            formatter.write_usage(ctx.command_path, line, "Usage: " if number == 0 else "       ")


_USAGE = ("TOPIC JSON", "< EVENTS.jsonl", "tail [PREFIX]", "task --user NAME -- COMMAND...")


def _is_ours(option: str) -> bool:
    return option in ("--help", "-h", "--version")


@click.group(
    "event-emit", cls=PublishByDefault, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(package_name="event-relay", prog_name="event-emit")
def main(**_: Any) -> None:
    """Publish events to the relay, watch them, and run commands as tasks.

    \b
    Examples:
      event-emit event:after_backup '{"server_name": "survival"}'
      event-emit < events.jsonl
      event-emit tail event: --pretty
      event-emit task --user alice -- rsync -a world/ backup/

    The relay is found by EMITTER_RELAY_INGRESS and EMITTER_RELAY_CONTROL, and `tail` finds it by
    EMITTER_RELAY_EGRESS. Without them it is the one on this machine.

    Exit code: 0 done, 1 the relay cannot be reached, 2 wrong input; of `task` the command's own.
    """


main.add_command(publish)
main.add_command(tail)
main.add_command(task)
