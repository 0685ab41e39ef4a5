"""Ends `make run` when a part cannot be started: `python -m demo.guard`.

A supervisord event listener: it gets an event for each process that supervisord gives up.
"""

import os
import signal
import sys


def main() -> None:
    """Wait for the first process that supervisord gives up, and stop supervisord."""
    print("READY", flush=True)
    header = dict(field.split(":", 1) for field in sys.stdin.readline().split())
    payload = sys.stdin.read(int(header.get("len", 0)))
    event = dict(field.split(":", 1) for field in payload.split())
    name = event.get("processname", "a part")
    print(f"{name} could not be started, see above: stopping everything", file=sys.stderr)
    os.kill(os.getppid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
