"""Emitting threads and the link thread share one mailbox, and miss nothing of each other."""

import select
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from emitters.core.dialogue import Dialogue
from emitters.core.outbox import Outbox
from emitters.core.outgoing import Outgoing
from emitters.errors import EmitterClosed, OutboxFull
from emitters.mailbox import CLOSED, Mailbox
from relay.wire.control import HelloReply
from relay.wire.notices import Acknowledged
from relay.wire.topics import parse_topic
from tests.support.waiting import wait_for

EPOCH = 5
TIMEOUT_S = 10.0


def event(number: int = 1, topic: str = "event:a") -> Outgoing:
    return Outgoing(parse_topic(topic), b"%d" % number)


def closed_mailbox(max_events: int = 100) -> Mailbox:
    """A mailbox whose relay is not there yet."""
    outbox = Outbox(max_events, 10**9)
    return Mailbox(outbox, Dialogue("manager-1", EPOCH, outbox))


def open_mailbox(max_events: int = 100) -> Mailbox:
    """A mailbox whose dialogue is open."""
    mailbox = closed_mailbox(max_events)
    assert mailbox.take_hello(0.0) == 0
    reply = HelloReply(
        id=1, epoch=1, journaled_kinds=("event", "task"), tips={}, heartbeat_s=1.0, sequence=0
    )
    mailbox.on_hello_accepted(reply, 0.0)
    mailbox.on_subscriptions([b"\x01event:", b"\x01task:"])
    assert mailbox.is_open
    return mailbox


def is_woken(mailbox: Mailbox) -> bool:
    """Whether the link thread was sent a wake-up call; takes it."""
    ready = bool(select.select([mailbox.wake_up], [], [], 0)[0])
    mailbox.wake_up.drain()
    return ready


@contextmanager
def running(target: object, *args: object) -> Iterator[threading.Thread]:
    thread = threading.Thread(target=target, args=args, daemon=True)  # type: ignore[arg-type]
    thread.start()
    yield thread
    thread.join(TIMEOUT_S)
    assert not thread.is_alive()


def test_the_link_is_woken_once_when_it_sleeps_and_can_send() -> None:
    mailbox = open_mailbox()
    mailbox.add(event(), None)
    assert not is_woken(mailbox), "it is awake"
    assert mailbox.prepare_to_sleep(7.0, may_send=True) == 7.0, "there is an event to send"
    assert mailbox.take_events(10, 7.0) == (1, [event()])
    assert mailbox.take_report(7.0) is not None
    assert mailbox.prepare_to_sleep(7.0, may_send=True) > 7.0
    mailbox.add(event(2), None)
    mailbox.add(event(3), None)
    assert [is_woken(mailbox), is_woken(mailbox)] == [True, False]


def test_the_link_is_not_woken_for_events_that_may_not_be_sent() -> None:
    mailbox = closed_mailbox()
    mailbox.prepare_to_sleep(0.0, may_send=True)
    mailbox.add(event(), None)
    assert not is_woken(mailbox)


def test_a_full_socket_is_left_alone_until_its_time() -> None:
    mailbox = open_mailbox()
    mailbox.add(event(), None)
    assert mailbox.take_report(7.0) is not None
    assert mailbox.prepare_to_sleep(7.0, may_send=False) > 7.0
    assert mailbox.prepare_to_sleep(7.0, may_send=True) == 7.0


def test_add_waits_for_room_until_an_acknowledgement_makes_some() -> None:
    mailbox = open_mailbox(max_events=1)
    mailbox.add(event(1), None)
    mailbox.take_events(10, 0.0)
    with pytest.raises(OutboxFull):
        mailbox.add(event(2), None)
    with running(mailbox.add, event(2), TIMEOUT_S):
        mailbox.on_notices([Acknowledged(EPOCH, 1)], 0.0)
    assert mailbox.take_events(10, 0.0) == (2, [event(2)])
    with pytest.raises(OutboxFull):
        mailbox.add(event(3), 0.01)


def test_a_refusal_ends_every_wait_and_the_first_reason_is_told() -> None:
    mailbox = open_mailbox(max_events=1)
    mailbox.add(event(1), None)
    told: list[object] = []

    def add() -> None:
        try:
            mailbox.add(event(2), TIMEOUT_S)
        except EmitterClosed as error:
            told.append(str(error))

    def wait() -> None:
        told.append(mailbox.wait_acknowledged(TIMEOUT_S))

    with running(add), running(wait):
        mailbox.refuse(CLOSED)
        mailbox.refuse("another reason")
    assert sorted(map(str, told)) == ["False", CLOSED]
    with pytest.raises(EmitterClosed, match=CLOSED):
        mailbox.add(event(3), None)


def test_waiting_is_for_the_events_before_it_and_not_for_later_ones() -> None:
    mailbox = open_mailbox()
    assert mailbox.wait_acknowledged(0), "there is nothing to wait for"
    mailbox.add(event(1), None)
    assert not mailbox.wait_acknowledged(0)
    results: list[bool] = []
    with running(lambda: results.append(mailbox.wait_acknowledged(TIMEOUT_S))):
        wait_for(lambda: len(mailbox._changed._waiters) == 1, "the thread waits")  # type: ignore[attr-defined]
        mailbox.add(event(2), None)
        mailbox.take_events(10, 0.0)
        mailbox.on_notices([Acknowledged(EPOCH, 1)], 0.0)
    assert results == [True]
    assert mailbox.unacknowledged() == 1


def test_live_values_go_out_to_watchers_and_come_back_from_a_full_socket() -> None:
    mailbox = open_mailbox()
    mailbox.add(event(1, "live:a"), None)
    mailbox.add(event(2, "live:b"), None)
    assert mailbox.take_live(10) == []
    mailbox.on_subscriptions([b"\x01live:a"])
    assert mailbox.is_watched("live:a")
    taken = mailbox.take_live(10)
    assert taken == [event(1, "live:a")]
    mailbox.put_live_back(taken)
    assert mailbox.take_live(10) == taken
    counters = mailbox.counters()
    assert (counters["live"], counters["live_sent"], counters["conflated"]) == (2, 1, 0)


def test_the_last_report_counts_the_values_that_nobody_got() -> None:
    mailbox = open_mailbox()
    mailbox.add(event(1, "live:a"), None)
    mailbox.take_live(10)
    assert mailbox.is_drained(), "a value that nobody watches is not waited for"
    report = mailbox.take_last_report(0.0)
    assert report is not None
    assert (report["live"], report["conflated"]) == (1, 1)
    assert mailbox.take_last_report(0.0) is None, "it was reported"


def test_events_of_1_mib_from_many_threads_stay_within_the_bound() -> None:
    """Whatever the threads do, the outbox refuses what passes its bytes, and counts it."""
    mib = 1024 * 1024
    outbox = Outbox(10_000, 8 * mib)
    mailbox = Mailbox(outbox, Dialogue("manager-1", EPOCH, outbox))
    large = Outgoing(parse_topic("event:a"), bytes(mib))
    refused: list[OutboxFull] = []

    def add_some() -> None:
        for _ in range(4):
            try:
                mailbox.add(large, None)
            except OutboxFull as error:
                refused.append(error)

    threads = [threading.Thread(target=add_some) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (mailbox.unacknowledged(), len(refused)) == (8, 8)
    assert mailbox.counters()["outbox_full"] == 8


def test_a_signal_handler_may_emit_whatever_it_interrupts() -> None:
    """It runs in the thread that may hold the lock, which would wait for itself otherwise."""
    mailbox = open_mailbox(max_events=10**6)
    handled: list[str] = []

    def emit_too(*_: object) -> None:
        try:
            mailbox.add(event(0, "event:signal"), None)
            handled.append("taken")
        except RuntimeError:
            handled.append("refused")

    before = signal.signal(signal.SIGALRM, emit_too)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    added = 0
    try:
        while len(handled) < 50:
            added += 1
            mailbox.add(event(added), None)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert mailbox.unacknowledged() == added + handled.count("taken")
