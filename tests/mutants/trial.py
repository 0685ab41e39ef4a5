"""One trial: a forked process puts a mutant in place and runs tests until one turns red."""

import contextlib
import gc
import os
import resource
import signal
import time
from collections.abc import Callable, Sequence
from enum import Enum
from types import CodeType, FunctionType

from _pytest.nodes import Item
from _pytest.runner import SetupState, runtestprotocol

from tests.mutants.operators import Mutant

MAX_MEMORY_BYTES = 6 * 2**30
"""Of a child's address space: a mutant may append without end."""
POLL_S = 0.002
RED, GREEN, UNFIT, FAULT = 1, 0, 3, 4


class Outcome(Enum):
    """The end of one mutant."""

    KILLED = "killed"
    SURVIVED = "survived"
    UNTESTED = "untested"
    """No test runs its function."""
    UNFIT = "unfit"
    """It cannot be put in place of the function; not counted."""


def try_mutant(
    mutant: Mutant | None, path: str, items: Sequence[Item], timeout_s: float
) -> Outcome:
    """Run `items` against a mutant of the file at `path`. A test without an end counts as red.

    Without a mutant, the file is as it is: it must survive.
    """
    if not items:
        return Outcome.UNTESTED

    def body() -> int:
        # The parent may be in the middle of a test.
        items[0].session._setupstate = SetupState()
        if mutant is not None and not _put_in_place(mutant, path):
            return UNFIT
        green = False
        with contextlib.suppress(BaseException):
            green = all(map(is_green, items))
        return GREEN if green else RED

    code = in_child(body, timeout_s)
    if code == FAULT:
        raise RuntimeError(f"a mutant of {path} could not be put in place: {mutant}")
    if code == UNFIT:
        return Outcome.UNFIT
    return Outcome.SURVIVED if code == GREEN else Outcome.KILLED


def is_green(item: Item) -> bool:
    """Run one test."""
    return all(report.passed or report.skipped for report in runtestprotocol(item, log=False))


def in_child(body: Callable[[], int], timeout_s: float) -> int:
    """Run `body` in a forked process; return its exit code, -1 if it was killed or ran too long."""
    child = os.fork()
    if child == 0:
        code = FAULT
        try:
            _become_child()
            code = body()
        finally:
            os._exit(code)
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else -1
        time.sleep(POLL_S)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -1


def _become_child() -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _put_in_place(mutant: Mutant, path: str) -> bool:
    """Give the function's code to all objects that have the old one; return whether that worked."""
    code = _code_of(mutant.function, compile(mutant.tree, path, "exec"))
    # An edge that a test has run in this process has frozen the objects: they would not be found.
    gc.unfreeze()
    found = [
        each
        for each in gc.get_objects()
        # Not by `isinstance`, which asks the object: some in tests answer with an exception.
        if type(each) is FunctionType
        and each.__code__.co_filename == path
        and each.__code__.co_qualname == mutant.function
    ]
    try:
        for function in found:
            function.__code__ = code
    except ValueError:
        return False  # The mutant refers to fewer names of the scope around it.
    return bool(found)


def _code_of(function: str, module: CodeType) -> CodeType:
    """Find a function's code among the constants of a module and its classes.

    Of functions with the same name (a property and its setter) the last is taken, as Python does.
    """
    stack, found = [module], None
    while stack:
        code = stack.pop()
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                if constant.co_qualname == function:
                    found = constant
                elif function.startswith(f"{constant.co_qualname}."):
                    stack.append(constant)
    assert found is not None, function
    return found
