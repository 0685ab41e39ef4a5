"""`python -m relay`, and the program `event-relay`."""

import sys

from relay.shared import program


def main() -> None:
    """Run the relay, or one of its commands."""
    serves = len(sys.argv) == 1
    program.begin(serves=serves)
    program.require_posix("event-relay")
    from relay.cli import main as relay

    if not serves:
        program.begin_command()
    relay(prog_name="event-relay")


if __name__ == "__main__":
    main()
