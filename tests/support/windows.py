"""Makes a Python process look like one on Windows, as far as our code can see.

    python -c "$(cat tests/support/windows.py)
    import emitters ..."

Modules and functions that only POSIX systems have are gone, both for us and for what we import
later. The kernel is still Linux: what pyzmq and the kernel do on Windows is not shown by this.
"""

import importlib.abc
import os
import select
import signal
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

POSIX_MODULES = ("fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "syslog", "readline")
POSIX_FUNCTIONS: tuple[tuple[ModuleType, tuple[str, ...]], ...] = (
    (
        signal,
        ("pthread_sigmask", "SIGKILL", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGCHLD", "setitimer"),
    ),
    (os, ("fork", "register_at_fork", "getuid", "killpg", "pread", "pwrite", "fchown", "fchmod")),
    (select, ("poll", "epoll")),
)


class _NotOnWindows(importlib.abc.MetaPathFinder):
    def find_spec(self, fullname: str, _path: object, _target: object = None) -> ModuleSpec | None:
        if fullname in POSIX_MODULES:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)
        return None


def become() -> None:
    """Take everything away, from now on."""
    for module in POSIX_MODULES:
        sys.modules.pop(module, None)
    sys.meta_path.insert(0, _NotOnWindows())
    for each, names in POSIX_FUNCTIONS:
        for name in names:
            if hasattr(each, name):
                delattr(each, name)
