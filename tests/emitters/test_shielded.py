"""A shielded call comes to its end, whatever interrupts the main thread."""

import contextvars
import signal
import threading

import pytest

from emitters.shielded import shielded
from tests.support.interrupts import Interrupted, interrupt_each_line
from tests.support.waiting import wait_for

variable = contextvars.ContextVar("variable", default=0)


def test_it_returns_and_raises_what_the_function_does() -> None:
    def add(first: int, *, second: int) -> int:
        assert threading.current_thread() is not threading.main_thread()
        return first + second + variable.get()

    token = variable.set(10)
    assert shielded(add, 1, second=2) == 13
    variable.reset(token)
    with pytest.raises(ZeroDivisionError):
        shielded(lambda: 1 / 0)
    with pytest.raises(KeyboardInterrupt):
        shielded(lambda: (_ for _ in ()).throw(KeyboardInterrupt))


def test_a_call_that_is_interrupted_while_it_runs_comes_to_its_end() -> None:
    main = threading.main_thread().ident
    assert main is not None
    may_end = threading.Event()
    ended: list[int] = []

    def work() -> None:
        signal.pthread_kill(main, signal.SIGALRM)
        may_end.wait(10)
        ended.append(1)

    def interrupt(*_: object) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with pytest.raises(Interrupted):
            shielded(work)
    finally:
        signal.signal(signal.SIGALRM, before)
    may_end.set()
    wait_for(lambda: ended, "the call ends")


def test_at_whichever_line_it_is_interrupted_the_call_was_made_wholly_or_not_at_all() -> None:
    lock = threading.Lock()
    begun: list[int] = []
    ended: list[int] = []

    def work() -> None:
        with lock:
            begun.append(1)
            ended.append(1)

    def check(place: str) -> None:
        assert lock.acquire(timeout=10), place
        lock.release()
        wait_for(lambda: begun == ended, place)

    assert interrupt_each_line(lambda: shielded(work), check) > 5


def test_other_threads_call_directly() -> None:
    idents: list[int] = []
    thread = threading.Thread(target=lambda: idents.append(shielded(threading.get_ident)))
    thread.start()
    thread.join()
    assert idents == [thread.ident]
