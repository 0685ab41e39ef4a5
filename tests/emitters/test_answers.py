"""`Answers`: what it answers, and how it ends. The test is the relay."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest

from emitters import Answers, Call
from emitters.core import connection_watch
from relay.wire.calls import CallNotice, ResultRequest, ServeReply, ServeRequest, pack_call_notice
from tests.support.raw_relay import RawRelay
from tests.support.waiting import wait_for


@pytest.fixture
def answers(relay: RawRelay) -> Iterator[Answers]:
    with Answers(name="here", control=relay.control, max_workers=1) as answers:
        yield answers


def registration(relay: RawRelay) -> tuple[str, ...]:
    """The methods of the next registration, which is confirmed."""
    while not isinstance(request := relay.read_request(), ServeRequest):
        pass
    relay.send(ServeReply(id=request.id))
    return request.methods


def call(relay: RawRelay, number: int) -> None:
    notice = CallNotice(number, "m", msgpack.packb(None), "alice", "user", 60.0)
    relay.notify_raw(pack_call_notice(notice))


def result(relay: RawRelay) -> tuple[int, bytes | None, str | None]:
    """Number, result and message of the next answer."""
    while not isinstance(request := relay.read_request(), ResultRequest):
        pass
    return request.call, request.result, request.message


@pytest.mark.parametrize(
    ("returned", "problem"),
    [
        ({"a": [float("nan")]}, "result.a[0]: nan cannot be carried by JSON"),
        ({"a": 2**60}, "result.a: an integer beyond"),
        (object(), "a value of type object cannot be carried"),
    ],
)
def test_what_clients_would_read_as_something_else_is_no_result(
    relay: RawRelay,
    answers: Answers,
    caplog: pytest.LogCaptureFixture,
    returned: Any,
    problem: str,
) -> None:
    answers("m")(lambda call: returned)
    assert registration(relay) == ("m",)
    call(relay, 7)
    assert result(relay) == (7, None, "internal error")
    assert problem in caplog.text


def test_calls_that_were_not_begun_are_answered_at_the_end(
    relay: RawRelay, answers: Answers
) -> None:
    has_begun, release = threading.Event(), threading.Event()

    @answers("m")
    def wait(call: Call) -> None:
        has_begun.set()
        release.wait(60)

    registration(relay)
    call(relay, 1)
    assert has_begun.wait(20)
    call(relay, 2)
    # The end of a process does not wait for a thread of this kind.
    threads = [each for each in threading.enumerate() if each.name.startswith("answers")]
    assert threads
    assert all(each.daemon for each in threads)
    ending = threading.Thread(target=answers.close, args=(0.2,))
    ending.start()
    try:
        assert result(relay) == (2, None, "this process ends")
    finally:
        release.set()
        ending.join()


def test_a_forked_process_registers_functions_of_its_own(relay: RawRelay, answers: Answers) -> None:
    answers("m")(lambda call: "parent")
    assert registration(relay) == ("m",)
    child = os.fork()
    if child == 0:
        answers("n")(lambda call: "child")
        answers.wait_registered(20)
        os._exit(0)
    while registration(relay) != ("n",):
        pass
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_relay_that_is_not_there_is_told_with_its_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(connection_watch, "FIRST_AFTER_S", 0.0)
    with Answers(name="here", control=f"ipc://{tmp_path}/none") as answers:
        answers("m")(lambda call: None)
        wait_for(lambda: caplog.messages, "a line in the log")
    [line] = caplog.messages
    assert line.startswith(f"answers of here: no relay answers at ipc://{tmp_path}/none; ")
    assert "EMITTER_RELAY_CONTROL" in line


def test_a_process_needs_one_thread_at_least() -> None:
    with pytest.raises(ValueError, match="max_workers"):
        Answers(max_workers=0)
