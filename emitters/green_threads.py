"""Refuses to work where gevent has put green threads in place of real ones.

The link thread waits inside libzmq. As a green thread it would stop all others, and itself.
"""

import sys


def refuse_green_threads() -> None:
    """Raise `RuntimeError` if gevent has patched `threading`."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None and monkey.is_module_patched("threading"):
        raise RuntimeError(
            "an emitter needs real threads: call gevent.monkey.patch_all(thread=False, queue=False)"
        )
