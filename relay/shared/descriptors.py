"""The file descriptors of this process: the limit, which a program raises at its start, and a test
whether some are left.

Every connection takes a descriptor. Without one, libuv and libzmq cannot accept a connection, and
neither says so: libuv closes it, and libzmq tries again without a pause.
"""

import contextlib
import os


def raise_limit(wanted: int) -> int:
    """Raise the soft limit to `wanted`, or as near as the hard limit allows; return the limit.

    A limit that is higher already stays. `wanted` need not be more than the process will use:
    programs that it starts inherit the limit, and some close as many descriptors as they may have.
    """
    # Imported here: emitters also run where there are no such limits.
    from relay.shared.posix import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    possible = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if possible > soft:
        # A kernel may allow less than its hard limit says.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (possible, hard))
            soft = possible
    return soft


def are_left(count: int) -> bool:
    """Return whether this process can open `count` more descriptors. It takes 1 µs for each."""
    taken: list[int] = []
    try:
        taken.append(os.open(os.devnull, os.O_RDONLY))
        for _ in range(count - len(taken)):
            taken.append(os.dup(taken[0]))
    except OSError:
        return False
    finally:
        for descriptor in taken:
            os.close(descriptor)
    return True
