"""`python -m edge`, and the program `event-edge`."""

import sys

from relay.shared import program
from relay.shared.extras import require_extra


def main() -> None:
    """Run the edge, or one of its commands."""
    serves = len(sys.argv) == 1
    if serves:
        program.begin_again_with_malloc()
    program.begin(serves=serves)
    program.require_posix("event-edge")
    require_extra("event-edge", "edge")
    from edge.cli import main as edge

    if not serves:
        program.begin_command()
    edge(prog_name="event-edge")


if __name__ == "__main__":
    main()
