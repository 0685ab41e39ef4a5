"""`end_with_parent`: for a program that must not outlive the process that has started it."""

import os
import select
import signal
import threading

LOOK_S = 1.0


def end_with_parent() -> None:
    """Stop this process as SIGTERM does when its parent is gone, or has no more use for it.

    The parent says so by closing the standard input. A process that was forked from the parent may
    hold that open, so this looks as well whether there is another parent than at the start.
    """
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            readable, _, _ = select.select([0], [], [], LOOK_S)
            if readable and not os.read(0, 4096):
                break
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent", daemon=True).start()
