"""The first and the last moments of a program: signals, standard streams, crashes.

Nothing here imports a library: while those are imported, signals are handled already.
"""

import atexit
import contextlib
import faulthandler
import os
import signal
import sys
from types import FrameType

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
ALLOCATOR = "PYTHONMALLOC"
"""The variable of Python's that names the allocator of its objects."""
NEEDS_POSIX = "needs a POSIX system, such as Linux, macOS, or WSL under Windows"
_SIGNALLED = 128
"""Shells add it to the number of the signal that ended a command."""
_UNUSABLE = 2
_IS_IGNORED = "ignored due to race condition"
"""Part of the message about a signal that Python finds ignored when it looks."""


def begin(*, serves: bool) -> None:
    """Call first in a program: from now on a signal ends it without a traceback.

    The exit code is 0 for a program that serves, which has nothing to lose before it has set its
    own handlers; for a command it is 128 and the number of the signal.
    """
    _open_missing_streams()
    # Non-ASCII text on a terminal or into a file of another encoding is no reason to fail.
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    # Its handlers run before the interpreter writes out what the streams still hold.
    atexit.register(flush_quietly, "stderr")
    # Native libraries may crash, for instance when no memory is left: say where.
    with contextlib.suppress(OSError, ValueError):
        faulthandler.enable()

    def end(number: int, _frame: FrameType | None) -> None:
        # No exception: it could be raised at any line of an import.
        os._exit(0 if serves else _SIGNALLED + number)

    for number in STOP_SIGNALS:
        # A signal that is ignored from the start stays ignored, as with `nohup`.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, end)


def require_posix(program: str) -> None:
    """End `program` with one line and exit code 2 where there are no locks of POSIX."""
    try:
        import fcntl  # noqa: F401
    except ImportError:
        print(f"{program}: {NEEDS_POSIX}", file=sys.stderr)
        raise SystemExit(_UNUSABLE) from None


def begin_command() -> None:
    """Call when a command has its libraries: Ctrl-C raises `KeyboardInterrupt` again."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def end() -> None:
    """Call last in a program that serves: further signals change nothing any more."""
    # Python tells of a signal that came between its last look at signals and the change. To block
    # signals prevents none: another thread takes them.
    sys.unraisablehook = _without_ignored_signals
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def begin_again_with_malloc() -> None:
    """Call before `begin`, to have objects in memory of GNU's `malloc`, unless the caller chose.

    Python's allocator gives memory back by the mebibyte, and one object keeps each: of 450 MiB for
    a crowd of clients, 340 stayed when they had gone. With GNU's, `FreedMemory` gives back each
    free page. It is a little slower. The interpreter takes the choice at its start alone.
    """
    is_plain = sys.executable and not (sys.flags.ignore_environment or hasattr(sys, "frozen"))
    if ALLOCATOR in os.environ or not is_plain or not _is_gnu():
        return
    os.environ[ALLOCATOR] = "malloc"
    with contextlib.suppress(OSError):
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _is_gnu() -> bool:
    try:
        return bool(os.confstr("CS_GNU_LIBC_VERSION"))
    except (AttributeError, ValueError, OSError):
        return False


def _without_ignored_signals(unraisable: "sys.UnraisableHookArgs") -> None:
    if not (isinstance(unraisable.exc_value, OSError) and _IS_IGNORED in str(unraisable.exc_value)):
        sys.__unraisablehook__(unraisable)


def flush_quietly(name: str) -> None:
    """Write out what the standard stream `name` holds; what it does not take goes nowhere.

    Otherwise the interpreter would try again at its end, report that, and exit with the code 120.
    """
    try:
        getattr(sys, name).flush()
    except (OSError, ValueError):
        discard(name)


def discard(name: str) -> None:
    """Have the standard stream `name` (`stdout`, `stderr`) go nowhere."""
    with contextlib.suppress(OSError, ValueError):
        null_device = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null_device, getattr(sys, name).fileno())
        os.close(null_device)


def _open_missing_streams() -> None:
    """Open the null device for each closed standard stream.

    Otherwise the next file or socket gets the stream's number, and logs are written into it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is this one: the lower ones are open.
            os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            mode = "r" if number == 0 else "w"
            stream = open(number, mode, encoding="utf-8", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)
