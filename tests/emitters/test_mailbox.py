"""Emitting threads and the link thread share one mailbox, and miss nothing of each other."""

import contextlib
import gc
import signal
import threading
import tracemalloc

import pytest

from emitters.core.outgoing import Outgoing
from emitters.errors import EmitterClosed, OutboxFull
from emitters.mailbox import CLOSED, NAP_S
from relay.wire.notices import Acknowledged
from relay.wire.topics import parse_topic
from tests.emitters.core.messages import EPOCH
from tests.emitters.mailboxes import (
    FOREVER_S,
    closed_mailbox,
    event,
    is_woken,
    open_mailbox,
    running,
    sleep,
    wait_until_waiting,
)
from tests.support.interrupts import interrupt_each_line


def test_the_link_is_woken_once_when_it_sleeps() -> None:
    mailbox = open_mailbox()
    mailbox.add(event(), None)
    assert not is_woken(mailbox), "it is awake"
    assert sleep(mailbox, 7.0) == 7.0, "there is an event to send"
    assert mailbox.take_events(10, 7.0) == (1, [event()])
    assert mailbox.take_report(7.0) is not None
    assert sleep(mailbox, 7.0) > 7.0
    mailbox.add(event(2), None)
    mailbox.add(event(3), None)
    assert [is_woken(mailbox), is_woken(mailbox)] == [True, False]


def test_an_event_that_comes_while_the_link_goes_to_sleep_is_not_slept_over() -> None:
    mailbox = open_mailbox()
    sleep(mailbox, 7.0)
    mailbox.on_awake()
    mailbox.add(event(), None)
    assert mailbox.prepare_to_sleep(7.0, may_send=True) == 7.0


def test_the_link_naps_while_events_come_that_may_not_be_sent() -> None:
    mailbox = closed_mailbox()
    assert mailbox.take_hello(0.0) is not None
    assert sleep(mailbox, 0.1) > 0.5
    mailbox.add(event(), None)
    assert is_woken(mailbox)
    assert sleep(mailbox, 0.1) == 0.1 + NAP_S
    mailbox.add(event(), None)
    assert not is_woken(mailbox), "it comes by itself"
    assert sleep(mailbox, 0.2) == 0.2 + NAP_S
    assert sleep(mailbox, 0.3) > 0.5, "nothing came"


def test_a_full_socket_is_left_alone_until_its_time() -> None:
    mailbox = open_mailbox()
    mailbox.add(event(), None)
    mailbox.on_awake()
    assert mailbox.take_report(7.0) is not None
    assert mailbox.prepare_to_sleep(7.0, may_send=False) > 7.0
    assert mailbox.prepare_to_sleep(7.0, may_send=True) == 7.0


def test_add_waits_for_room_until_an_acknowledgement_makes_some() -> None:
    mailbox = open_mailbox(max_events=1)
    mailbox.add(event(1), None)
    mailbox.take_new()
    mailbox.take_events(10, 0.0)
    with pytest.raises(OutboxFull):
        mailbox.add(event(2), None)
    with running(mailbox.add, event(2), FOREVER_S):
        wait_until_waiting(mailbox)
        mailbox.on_notices([Acknowledged(EPOCH, 1)], 0.0)
    assert mailbox.unacknowledged() == 1
    mailbox.take_new()
    assert mailbox.take_events(10, 0.0) == (2, [event(2)])
    with pytest.raises(OutboxFull):
        mailbox.add(event(3), 0.01)
    assert mailbox.unacknowledged() == 1
    counters = mailbox.counters()
    assert (counters["accepted"], counters["outbox_full"]) == (2, 2)
    mailbox.take_new()
    assert mailbox.take_report(0.0) == counters, "the relay is told the same"


def test_acknowledged_events_give_their_bytes_back() -> None:
    mailbox = open_mailbox(max_bytes=3)
    for number in range(100, 110):
        mailbox.add(event(number), None)
        mailbox.take_new()
        with pytest.raises(OutboxFull):
            mailbox.add(event(), None)
        first, _ = mailbox.take_events(10, 0.0)
        mailbox.on_notices([Acknowledged(EPOCH, first)], 0.0)
    assert mailbox.counters()["acknowledged"] == 10


def test_a_refusal_ends_every_wait_and_the_first_reason_is_told() -> None:
    mailbox = open_mailbox(max_events=1)
    mailbox.add(event(1), None)
    told: list[object] = []

    def add() -> None:
        try:
            mailbox.add(event(2), FOREVER_S)
        except EmitterClosed as error:
            told.append(str(error))

    def wait() -> None:
        told.append(mailbox.wait_acknowledged(FOREVER_S))

    with running(add), running(wait), running(mailbox.wait_open, FOREVER_S):
        wait_until_waiting(mailbox, 2)
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
    with running(lambda: results.append(mailbox.wait_acknowledged(FOREVER_S))):
        wait_until_waiting(mailbox)
        mailbox.add(event(2), None)
        mailbox.take_new()
        mailbox.take_events(10, 0.0)
        mailbox.on_notices([Acknowledged(EPOCH, 1)], 0.0)
    assert results == [True]
    assert mailbox.unacknowledged() == 1


def test_live_values_go_out_to_watchers_and_come_back_from_a_full_socket() -> None:
    mailbox = open_mailbox()
    mailbox.add(event(1, "live:a"), None)
    mailbox.add(event(2, "live:b"), None)
    mailbox.take_new()
    assert mailbox.take_live(10) == []
    mailbox.on_subscriptions([b"\x01live:a"])
    assert mailbox.is_watched("live:a")
    taken = mailbox.take_live(10)
    assert taken == [event(1, "live:a")]
    mailbox.put_live_back(taken)
    assert mailbox.take_live(10) == taken
    mailbox.take_report(0.0)
    counters = mailbox.counters()
    assert (counters["live"], counters["live_sent"], counters["conflated"]) == (2, 1, 0)


def test_the_last_report_counts_the_values_that_nobody_got() -> None:
    mailbox = open_mailbox()
    mailbox.add(event(1, "live:a"), None)
    assert not mailbox.is_drained()
    mailbox.take_new()
    mailbox.take_live(10)
    assert mailbox.is_drained(), "a value that nobody watches is not waited for"
    report = mailbox.take_last_report(0.0)
    assert report is not None
    assert (report["live"], report["conflated"]) == (1, 1)
    assert mailbox.take_last_report(0.0) is None, "it was reported"


def test_events_of_1_mib_from_many_threads_stay_within_the_bound() -> None:
    """Whatever the threads do, the outbox refuses what passes its bytes, and counts it."""
    mib = 1024 * 1024
    mailbox = closed_mailbox(10_000, 8 * mib)
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


def test_refused_events_take_no_memory() -> None:
    """Also while the link thread does nothing."""
    mailbox = closed_mailbox(max_events=1)
    mailbox.add(event(), None)

    def refuse(times: int) -> None:
        for _ in range(times):
            with contextlib.suppress(OutboxFull):
                mailbox.add(event(), None)

    refuse(10)
    gc.collect()
    tracemalloc.start()
    try:
        refuse(5_000)
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] < 100_000
    finally:
        tracemalloc.stop()
    assert mailbox.counters()["outbox_full"] == 5_010


@pytest.mark.parametrize("topic", ["event:a", "live:a"])
def test_an_interrupted_add_leaves_no_event_without_its_wake_up_call(topic: str) -> None:
    """At whichever line: the link thread sleeps, and nothing else would wake it up."""
    mailbox = open_mailbox()
    sleep(mailbox, 0.0)
    places: list[str] = []

    def check(place: str) -> None:
        is_taken = mailbox._handover.has_new
        assert is_woken(mailbox) or not is_taken, place
        places.append(place)
        sleep(mailbox, 0.0)
        mailbox.take_events(10, 0.0)
        mailbox.take_live(10)
        mailbox.on_notices([Acknowledged(EPOCH, mailbox.counters()["accepted"])], 0.0)
        sleep(mailbox, 0.0)

    assert interrupt_each_line(lambda: mailbox.add(event(1, topic), None), check) > 10
    assert any("handover.py" in place for place in places)
    assert mailbox.unacknowledged() == (topic == "event:a")


def test_a_signal_handler_may_emit_whatever_it_interrupts() -> None:
    mailbox = open_mailbox(max_events=10**6)
    handled = added = 0

    def emit_too(*_: object) -> None:
        nonlocal handled
        mailbox.add(event(0, "event:signal"), None)
        handled += 1

    before = signal.signal(signal.SIGALRM, emit_too)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    try:
        while handled < 50:
            added += 1
            mailbox.add(event(added), None)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    mailbox.take_new()
    _, events = mailbox.take_events(10**6, 0.0)
    own = [int(each.envelope) for each in events if each.topic.text == "event:a"]
    assert own == list(range(1, len(own) + 1))
    assert mailbox.unacknowledged() == added + handled


class TestManyAtOnce:
    def test_all_or_none_are_taken(self) -> None:
        mailbox = open_mailbox(max_events=3)
        mailbox.add_all([event(1), event(2, "resource-monitor:a"), event(3)])
        with pytest.raises(OutboxFull):
            mailbox.add_all([event(4), event(5)])
        mailbox.add(event(6), None)
        mailbox.add_all([])
        sleep(mailbox, 0.0)
        assert mailbox.take_events(10, 0.0) == (1, [event(1), event(3), event(6)])
        assert mailbox.counters()["outbox_full"] == 1

    def test_one_call_wakes_the_link_once(self) -> None:
        mailbox = open_mailbox()
        assert mailbox.take_report(7.0) is not None
        sleep(mailbox, 7.0)
        mailbox.add_all([event(1), event(2)])
        assert [is_woken(mailbox), is_woken(mailbox)] == [True, False]

    def test_events_of_several_threads_do_not_mix(self) -> None:
        mailbox = open_mailbox(max_events=10_000)

        def add(start: int) -> None:
            for number in range(start, start + 1000, 5):
                mailbox.add_all([event(number + each) for each in range(5)])

        with running(add, 0), running(add, 1000), running(add, 2000):
            pass
        sleep(mailbox, 0.0)
        _, taken = mailbox.take_events(10_000, 0.0)
        numbers = [int(each.envelope) for each in taken]
        assert sorted(numbers) == list(range(3000))
        fives = [numbers[at : at + 5] for at in range(0, 3000, 5)]
        assert all(five == list(range(five[0], five[0] + 5)) for five in fives)

    def test_nothing_is_taken_after_the_end(self) -> None:
        mailbox = open_mailbox()
        mailbox.refuse(CLOSED)
        with pytest.raises(EmitterClosed):
            mailbox.add_all([event(1)])
