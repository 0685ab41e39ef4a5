"""`python -m emitters`."""

from emitters.cli import main

if __name__ == "__main__":
    main(prog_name="event-emit")
