"""`python -m emitters`, and the program `event-emit`."""

from relay.shared import program


def main() -> None:
    """Run a command."""
    program.begin(serves=False)
    from emitters.cli import main as emit

    program.begin_command()
    emit(prog_name="event-emit")


if __name__ == "__main__":
    main()
