"""`python -m relay.embedded`: a relay that ends with the process that has started it.

It ends when its standard input does. A process that was forked from the parent may hold that open,
so the relay also looks whether it has another parent than at its start.
"""

import os
import select
import signal
import sys
import threading

from relay.__main__ import main

LOOK_S = 1.0


def end_with_parent() -> None:
    """Stop this process as SIGTERM does when its parent is gone, or has no more use for it."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            readable, _, _ = select.select([0], [], [], LOOK_S)
            if readable and not os.read(0, 4096):
                break
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent", daemon=True).start()


if __name__ == "__main__":
    end_with_parent()
    sys.argv[1:] = []
    main()
