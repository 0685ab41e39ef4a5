"""Ends `make run` if a program cannot be started: `python -m relay.demo.guard`.

A supervisord event listener, told of each process that ended or was given up.
"""

import os
import signal
import sys


def main() -> None:
    """Wait for the first process that cannot be started, and stop supervisord."""
    print("READY", flush=True)
    for line in sys.stdin:
        header = _fields(line)
        event = _fields(sys.stdin.read(int(header["len"])))
        if header["eventname"] == "PROCESS_STATE_FATAL" or event["expected"] == "1":
            break
        print("RESULT 2\nOKREADY", flush=True)
    else:
        return  # supervisord is gone, and has stopped every part.
    name = event["processname"]
    print(f"{name} could not be started, see above: stopping everything", file=sys.stderr)
    os.kill(os.getppid(), signal.SIGTERM)


def _fields(text: str) -> dict[str, str]:
    """Return the fields of `name:value name:value ...`."""
    return dict(field.split(":", 1) for field in text.split())


if __name__ == "__main__":
    main()
