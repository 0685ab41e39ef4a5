"""With a spool, an event is in the file before `emit` returns, and a failure is told there."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack

import pytest

from emitters.core.outbox import Outbox
from emitters.core.outgoing import Outgoing
from emitters.errors import EmitterClosed, SpoolUnavailable
from emitters.mailbox import CLOSED, FAILED, Mailbox
from relay.wire.notices import Acknowledged
from relay.wire.topics import parse_topic
from tests.emitters.core.messages import EPOCH, accepting
from tests.emitters.core.stores import RecordingStore
from tests.emitters.mailboxes import (
    FOREVER_S,
    closed_mailbox,
    event,
    greeted,
    mailbox_of,
    open_mailbox,
    running,
    sleep,
    wait_until_waiting,
)
from tests.support.waiting import wait_for

LARGE = Outgoing(parse_topic("event:large"), b"x" * 100)


class SmallStore(RecordingStore):
    """Refuses events of 100 bytes."""

    def append(self, first: int, events: Sequence[Outgoing]) -> None:
        if LARGE in events:
            raise SpoolUnavailable("an event is too large")
        super().append(first, events)


def wait_handed_over(mailbox: Mailbox, count: int) -> None:
    wait_for(lambda: mailbox.unacknowledged() == count, f"{count} events are handed over")


def adding(
    mailbox: Mailbox, outgoing: Outgoing, told: list[object], store: RecordingStore
) -> Callable[[], None]:
    """Return a function that adds an event and tells what the store has then, or the error."""

    def add() -> None:
        try:
            mailbox.add(outgoing, None)
            told.append(store.kept)
        except (SpoolUnavailable, EmitterClosed) as error:
            told.append(str(error))

    return add


def test_add_returns_when_the_event_is_in_the_spool() -> None:
    store = RecordingStore()
    mailbox = closed_mailbox(store=store)
    mailbox.begin()
    told: list[object] = []
    with running(adding(mailbox, event(), told, store)):
        wait_handed_over(mailbox, 1)
        assert told == []
        mailbox.take_new()
    assert told == [[event()]]


def test_the_link_thread_does_not_wait_for_itself() -> None:
    """A callback of `on_watch_change` may emit."""
    store = RecordingStore()
    mailbox = closed_mailbox(store=store)
    mailbox.begin()
    mailbox.add(event(), None)
    assert store.kept == [event()]


def test_an_event_that_the_spool_does_not_take_raises_and_takes_no_room() -> None:
    store = RecordingStore()
    mailbox = closed_mailbox(max_events=1, store=store)
    told: list[object] = []
    store.full = True
    with running(adding(mailbox, event(1), told, store)):
        wait_handed_over(mailbox, 1)
        mailbox.take_new()
    store.full = False
    with running(adding(mailbox, event(2), told, store)):
        wait_handed_over(mailbox, 1)
        mailbox.take_new()
    assert told == ["no room", [event(2)]]
    assert mailbox.counters()["accepted"] == 1


def test_an_event_that_is_too_large_does_not_cost_those_of_other_threads() -> None:
    store = SmallStore()
    mailbox = closed_mailbox(store=store)
    told: list[list[object]] = [[], [], []]
    with ExitStack() as threads:
        for number, outgoing in enumerate((event(1), LARGE, event(2))):
            threads.enter_context(running(adding(mailbox, outgoing, told[number], store)))
            wait_handed_over(mailbox, number + 1)
        mailbox.take_new()
    assert told[1] == ["an event is too large"]
    assert [len(each) for each in told] == [1, 1, 1]
    assert store.kept == [event(1), event(2)]
    assert mailbox.unacknowledged() == 2


def test_a_live_value_whose_kind_is_journaled_since_is_not_lost_when_the_spool_is_full() -> None:
    store = RecordingStore()
    mailbox = closed_mailbox(store=store)
    assert greeted(mailbox, 0.0) == 0
    mailbox.add(event(1, "audit:a"), None)
    mailbox.on_hello_accepted(accepting(0, ("event", "task", "audit")), 0.0)
    store.full = True
    mailbox.take_new()
    assert mailbox.unacknowledged() == 0
    counters = mailbox.counters()
    assert (counters["accepted"], counters["live"], counters["conflated"]) == (0, 1, 0)


def test_what_a_thread_emits_in_a_row_goes_out_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """The link thread waits for the next event of a thread whose event it has just kept."""
    monkeypatch.setattr("emitters.mailbox.FOLLOWER_S", FOREVER_S)
    monkeypatch.setattr("emitters.mailbox.MAX_FOLLOWERS", 4)
    store = RecordingStore()
    mailbox = open_mailbox(store=store)
    events = [event(number) for number in range(7)]

    def add_all() -> None:
        for each in events:
            mailbox.add(each, None)

    with running(add_all):
        wait_handed_over(mailbox, 1)
        mailbox.on_awake()
        assert store.kept == events[:5], "the first, and as many as follow at once"
        wait_handed_over(mailbox, 6)
        mailbox.take_new()
        wait_handed_over(mailbox, 7)
        mailbox.take_new()
    assert store.kept == events


def test_the_link_waits_but_once_for_a_thread_that_emits_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("emitters.mailbox.FOLLOWER_S", 0.001)
    monkeypatch.setattr("emitters.mailbox.MAX_FOLLOWERS", 10**9)
    store = RecordingStore()
    mailbox = closed_mailbox(store=store)
    assert mailbox.take_hello(0.0) is not None
    with running(mailbox.add, event(), None):
        wait_handed_over(mailbox, 1)
        assert sleep(mailbox, 0.1) > 0.5, "no nap: the next thread would wait for its end"
    with running(mailbox.add, event(2), None):
        wait_handed_over(mailbox, 2)
        mailbox.take_new()
    assert store.kept == [event(), event(2)]


def test_events_that_an_earlier_process_left_are_counted_and_waited_for() -> None:
    store = RecordingStore()
    store.rewrite(10, [event(1), event(2)])
    store.keep_epoch(EPOCH)
    outbox = Outbox(acknowledged=10, kept=store.kept, store=store.open())
    mailbox = mailbox_of(outbox)
    greeting = mailbox.take_hello(0.0)
    assert greeting is not None
    assert (mailbox.epoch, greeting.inherited, greeting.acknowledged) == (EPOCH, 12, 10)
    counters = mailbox.counters()
    assert (counters["accepted"], counters["acknowledged"]) == (12, 10)
    assert mailbox.unacknowledged() == 2
    assert not mailbox.wait_acknowledged(0)
    mailbox.on_hello_accepted(accepting(10), 0.0)
    mailbox.on_subscriptions([b"\x01event:", b"\x01task:"])
    assert mailbox.take_events(5, 0.0) == (11, [event(1), event(2)])
    mailbox.on_notices([Acknowledged(EPOCH, 12)], 0.0)
    assert mailbox.wait_acknowledged(0)
    assert mailbox.unacknowledged() == 0


def test_the_end_keeps_the_last_events_closes_the_spool_and_ends_every_wait() -> None:
    store = RecordingStore()
    mailbox = closed_mailbox(store=store)
    told: list[object] = []
    with (
        running(adding(mailbox, event(), told, store)),
        running(lambda: told.append(mailbox.wait_open(FOREVER_S))),
        running(lambda: told.append(mailbox.wait_acknowledged(FOREVER_S))),
        running(lambda: mailbox.waiters.wait(lambda: mailbox.has_ended, FOREVER_S)),
    ):
        wait_handed_over(mailbox, 1)
        wait_until_waiting(mailbox, 3)
        mailbox.finish(CLOSED)
    assert sorted(map(str, told)) == ["False", "False", str([event()])]
    assert (mailbox.has_ended, store.is_open) == (True, False)
    with pytest.raises(EmitterClosed, match=CLOSED):
        mailbox.add(event(2), None)


def test_an_open_emitter_that_has_ended_is_not_connected() -> None:
    mailbox = open_mailbox()
    found = [mailbox.wait_open(FOREVER_S)]
    mailbox.finish(CLOSED)
    assert [*found, mailbox.wait_open(FOREVER_S)] == [True, False]


def test_a_spool_that_fails_at_the_end_still_ends_every_wait() -> None:
    class Broken(RecordingStore):
        def close(self) -> None:
            raise OSError("the disk is gone")

    mailbox = closed_mailbox(store=Broken())
    with pytest.raises(OSError, match="the disk is gone"):
        mailbox.finish(CLOSED)
    assert mailbox.has_ended


def test_a_fault_of_the_link_thread_is_told_to_those_who_wait_for_it() -> None:
    class Broken(RecordingStore):
        def append(self, first: int, events: Sequence[Outgoing]) -> None:
            raise MemoryError

    store = Broken()
    mailbox, told = open_mailbox(store=store), list[object]()
    with ExitStack() as threads:
        for number in range(1, 4):
            threads.enter_context(running(adding(mailbox, event(number), told, store)))
            wait_handed_over(mailbox, number)
        with pytest.raises(MemoryError):
            mailbox.take_new()
    assert told == [FAILED] * 3


def test_many_at_once_are_kept_before_the_call_returns() -> None:
    store = RecordingStore()
    mailbox = open_mailbox(store=store)
    kept: list[int] = []

    def add() -> None:
        mailbox.add_all([event(1), event(2, "resource-monitor:a"), event(3)])
        kept.append(len(store.events))

    with running(add):
        wait_handed_over(mailbox, 2)
        assert kept == []
        mailbox.on_awake()
    assert kept == [2]
