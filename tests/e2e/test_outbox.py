"""Events that `emit` accepted reach the journal once and in order, or the emitter says so."""

import signal
import threading
from functools import partial

import pytest

from emitters import Emitter, OutboxFull
from relay.shared.settings import SettingsError
from relay.wire.envelope import Envelope
from tests.emitters.relay_control import emitter_stats, read_journal
from tests.support.cluster import Cluster
from tests.support.processes import python
from tests.support.waiting import wait_for

CLOSE_S = 30.0


def numbers(events: list[Envelope]) -> list[int]:
    return [event.data["n"] for event in events]


def open_emitter(cluster: Cluster, **options: int | float) -> Emitter:
    """Return an emitter that may be disconnected; the caller closes it."""
    return Emitter(name="manager-1", ingress=cluster.ingress, control=cluster.control, **options)  # type: ignore[arg-type]


def has_acknowledged(emitter: Emitter, sequence: int) -> bool:
    return emitter.counters()["acknowledged"] >= sequence


def test_every_event_is_journaled_once_while_the_relay_is_killed(cluster: Cluster) -> None:
    relay = cluster.start_relay()
    emitter = cluster.emitter()
    emitted = 0
    for _ in range(4):
        before = emitted
        for _ in range(2_000):
            emitted += 1
            emitter.emit("event:x", {"n": emitted})
        assert emitter.wait_connected(10)
        wait_for(partial(has_acknowledged, emitter, before + 1), "some are acknowledged")
        relay.kill()
        emitted += 1
        emitter.emit("event:x", {"n": emitted})
        relay = cluster.start_relay()
    assert emitter.close(CLOSE_S) == 0
    assert numbers(read_journal(cluster.control)) == list(range(1, emitted + 1))


def test_a_relay_that_stood_still_is_sent_nothing_twice(cluster: Cluster) -> None:
    """First so briefly that the connection lives, then until it is cut."""
    relay = cluster.start_relay()
    emitter = cluster.emitter()
    emitter.emit("event:x", {"n": 1})
    assert emitter.wait_acknowledged(10)
    relay.signal(signal.SIGSTOP)
    for number in range(2, 10_002):
        emitter.emit("event:x", {"n": number})
    assert not emitter.wait_acknowledged(1.5), "the relay stands still"
    relay.signal(signal.SIGCONT)
    assert emitter.wait_acknowledged(CLOSE_S)
    relay.signal(signal.SIGSTOP)
    for number in range(10_002, 20_002):
        # More than the kernel buffers for a process that does not read.
        emitter.emit("event:x", {"n": number, "ballast": "x" * 2000})
    wait_for(lambda: not emitter.wait_connected(0), "the emitter gives the relay up", 15)
    relay.signal(signal.SIGCONT)
    assert emitter.close(CLOSE_S) == 0
    assert numbers(read_journal(cluster.control)) == list(range(1, 20_002))
    stats = emitter_stats(cluster.control, "test-manager")
    assert stats["sequence"] == 20_001


def test_many_threads_lose_nothing_of_theirs(cluster: Cluster) -> None:
    cluster.start_relay()
    emitter = cluster.emitter()

    def emit_some(thread: int) -> None:
        for number in range(1_000):
            emitter.emit("event:x", {"thread": thread, "n": number})

    threads = [threading.Thread(target=emit_some, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert emitter.close(CLOSE_S) == 0
    events = read_journal(cluster.control)
    for thread_number in range(4):
        own = [event for event in events if event.data["thread"] == thread_number]
        assert numbers(own) == list(range(1_000))
    assert len({event.id for event in events}) == 4_000


def test_what_is_refused_for_want_of_room_is_counted_at_the_relay(cluster: Cluster) -> None:
    emitter = open_emitter(cluster, max_events=3)
    try:
        for number in range(3):
            emitter.emit("event:x", {"n": number})
        for _ in range(2):
            with pytest.raises(OutboxFull, match=r"^3 events "):
                emitter.emit("event:x", {"n": 3})
        cluster.start_relay()
        emitter.wait_acknowledged(10)
        emitter.emit("resource-monitor:x", {"n": 1})
        emitter.emit("resource-monitor:x", {"n": 2})
        assert emitter.close(CLOSE_S) == 0
    finally:
        emitter.close(0)
    reported = emitter_stats(cluster.control, "manager-1")["reported"]
    assert reported | {"forbidden": 0} == emitter.counters()
    assert reported == {
        "accepted": 3,
        "acknowledged": 3,
        "outbox_full": 2,
        "live": 2,
        "live_sent": 0,
        "conflated": 2,
    }


def test_emit_waits_for_room_if_told_to(cluster: Cluster) -> None:
    relay = cluster.start_relay()
    emitter = open_emitter(cluster, max_events=100, block_timeout_s=0.2)
    try:
        relay.signal(signal.SIGSTOP)
        for number in range(100):
            emitter.emit("event:x", {"n": number})
        with pytest.raises(OutboxFull):
            emitter.emit("event:x", {"n": 100})
        relay.signal(signal.SIGCONT)
        assert emitter.wait_acknowledged(10)
        for number in range(100, 1_000):
            emitter.emit("event:x", {"n": number})
        assert emitter.close(CLOSE_S) == 0
    finally:
        relay.signal(signal.SIGCONT)
        emitter.close(0)
    assert numbers(read_journal(cluster.control)) == list(range(1_000))


FORKING = """\
import multiprocessing
from emitters import Emitter

def work():
    emitter = Emitter(name="child")
    for n in range(1, 101):
        emitter.emit("event:x", {"n": n})

child = multiprocessing.get_context("fork").Process(target=work)
child.start()
child.join()
assert child.exitcode == 0
"""


def test_a_forked_child_of_multiprocessing_hands_over_what_it_emitted(cluster: Cluster) -> None:
    """It ends without `atexit`."""
    cluster.start_relay()
    parent = cluster.start("parent", python("-c", FORKING))
    wait_for(lambda: parent.returncode is not None, "it ends", 20)
    assert parent.returncode == 0, parent.output()
    assert numbers(read_journal(cluster.control)) == list(range(1, 101))


def test_whoever_closes_second_is_told_the_same(cluster: Cluster) -> None:
    """There is no relay, and what waits is lost."""
    emitter = open_emitter(cluster)
    emitter.emit("event:x", {"n": 1})
    left = []
    first = threading.Thread(target=lambda: left.append(emitter.close(1.0)))
    first.start()
    assert emitter.close(1.0) == 1
    first.join()
    assert left == [1]
    assert emitter.close(0) == 1


def test_a_close_that_is_interrupted_can_be_made_again(cluster: Cluster) -> None:
    emitter = open_emitter(cluster)
    emitter.emit("event:x", {"n": 1})
    main = threading.main_thread().ident
    assert main is not None
    threading.Timer(0.2, signal.pthread_kill, (main, signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        emitter.close(1.5)
    assert emitter.close(10) == 1


def test_an_address_that_cannot_be_is_said(cluster: Cluster) -> None:
    with pytest.raises(SettingsError, match="at most 107 bytes"):
        Emitter(ingress=f"ipc:///{'x' * 500}", control=cluster.control)


@pytest.mark.parametrize("told", ["event,task,audit", None])
def test_what_the_relay_journals_beside_the_usual_is_held_from_the_first_on(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, told: str | None
) -> None:
    """Also by an emitter that only the relay can tell."""
    if told is not None:
        monkeypatch.setenv("EMITTER_JOURNALED_KINDS", told)
    emitter = open_emitter(cluster)
    for number in range(1, 51):
        emitter.emit("gauge:x", {"n": number})
    for number in range(1, 101):
        emitter.emit("audit:x", {"n": number})
    cluster.start_relay(RELAY_JOURNALED_KINDS="event,task,audit")
    assert emitter.close(CLOSE_S) == 0
    assert numbers(read_journal(cluster.control, "audit")) == list(range(1, 101))
    # The relay says that the other kind is live; its newest value goes nowhere without a watcher.
    counters = emitter.counters()
    assert (counters["accepted"], counters["live"], counters["conflated"]) == (100, 50, 50)
