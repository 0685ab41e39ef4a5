"""The link thread's half of the mailbox: when it acts, and what it tells the other threads."""

import pytest

from emitters.core.connection_watch import NOBODY
from emitters.core.dialogue import STALL_S
from emitters.core.watched_topics import RETRY_S
from emitters.errors import OutboxFull
from emitters.mailbox import CLOSED, Mailbox
from relay.wire.demand import FILTERED_PREFIX, pack_digests, topic_digest
from relay.wire.demand_messages import WatchedReply
from relay.wire.notices import Acknowledged
from tests.emitters.core.messages import EPOCH, accepting
from tests.emitters.mailboxes import (
    FOREVER_S,
    closed_mailbox,
    event,
    greeted,
    is_woken,
    open_mailbox,
    running,
    sleep,
    wait_until_waiting,
)

STREAMS = [b"\x01event:", b"\x01task:"]
NO_STREAMS = [b"\x00event:", b"\x00task:"]


def quiet_mailbox() -> Mailbox:
    """An open mailbox that has nothing to report for ten seconds."""
    mailbox = open_mailbox()
    assert mailbox.take_report(0.0) is not None
    return mailbox


def test_a_new_link_sleeps_until_its_next_hello() -> None:
    mailbox = closed_mailbox()
    assert greeted(mailbox, 0.0) == 0
    assert mailbox.take_hello(0.5) is None, "the relay has a second to answer"
    assert mailbox.prepare_to_sleep(0.5, may_send=True) == 1.0
    assert greeted(mailbox, 1.0) == 0


def test_a_link_that_is_awake_is_not_woken() -> None:
    mailbox = quiet_mailbox()
    sleep(mailbox, 0.0)
    mailbox.on_awake()
    mailbox.add(event(), None)
    assert not is_woken(mailbox)


def test_the_stall_begins_when_the_first_event_is_in_flight() -> None:
    mailbox = quiet_mailbox()
    for now in (5.0, 5.5):
        mailbox.add(event(), None)
        mailbox.on_awake()
        mailbox.take_events(10, now)
    assert mailbox.take_report(5.5) is not None
    assert sleep(mailbox, 5.5) == 5.0 + STALL_S
    assert greeted(mailbox, 5.0 + STALL_S) == 0


def test_events_that_the_socket_did_not_take_are_taken_next() -> None:
    mailbox = open_mailbox()
    for number in (1, 2, 3):
        mailbox.add(event(number), None)
    mailbox.take_new()
    assert mailbox.take_events(10, 0.0) == (1, [event(1), event(2), event(3)])
    mailbox.put_events_back(2)
    assert mailbox.take_events(10, 0.0) == (2, [event(2), event(3)])


def test_the_first_question_for_a_topic_wakes_the_link_which_asks_the_relay() -> None:
    """A subscription with a hint: the demand says which topics are watched."""
    mailbox = quiet_mailbox()
    mailbox.on_subscriptions([b"\x01live:", b"\x01" + FILTERED_PREFIX + b"live:"])
    assert not mailbox.is_watched("live:a")
    assert [is_woken(mailbox), is_woken(mailbox)] == [True, False]
    assert sleep(mailbox, 2.0) == 2.0, "the demand is to be asked for"
    assert mailbox.watched.question(2.0) is not None
    assert sleep(mailbox, 2.0) == 2.0 + RETRY_S, "the answer is due before the next report"
    assert not mailbox.is_watched("live:a")
    assert not is_woken(mailbox)


def test_a_topic_that_the_demand_names_is_sent_as_soon_as_that_is_known() -> None:
    mailbox = quiet_mailbox()
    mailbox.on_subscriptions([b"\x01live:", b"\x01" + FILTERED_PREFIX + b"live:"])
    mailbox.add(event(1, "live:a"), None)
    mailbox.take_new()
    assert mailbox.take_live(10) == []
    demand = WatchedReply(
        id=1,
        epoch=1,
        after=0,
        version=1,
        snapshot=True,
        watch=pack_digests([topic_digest("live:a")]),
    )
    assert mailbox.watched.take_reply(demand, 0.0)
    assert mailbox.take_live(10) == [], "not looked at before the link says so"
    mailbox.on_demand_changed()
    assert mailbox.take_live(10) == [event(1, "live:a")]


def test_the_demand_is_asked_for_again_when_the_relay_is_lost_and_only_then() -> None:
    mailbox = quiet_mailbox()
    mailbox.watched.names("live:a")
    assert mailbox.watched.question(0.0) is not None
    mailbox.on_subscriptions([b"\x01live:"])
    assert mailbox.watched.question(0.1) is None, "the question is on its way"
    mailbox.on_subscriptions([*NO_STREAMS, b"\x00live:"])
    assert greeted(mailbox, 0.1) == 0
    assert mailbox.prepare_to_sleep(0.1, may_send=True) == 1.1, "no relay, nobody to ask"
    assert mailbox.watched.question(0.1) is not None


def test_the_link_reads_where_the_dialogue_is() -> None:
    mailbox = closed_mailbox()
    assert mailbox.trouble == NOBODY
    states = [(mailbox.is_accepted, mailbox.is_fenced, mailbox.relay_epoch)]
    mailbox.take_hello(0.0)
    mailbox.on_hello_accepted(accepting(0), 0.0)
    states.append((mailbox.is_accepted, mailbox.is_fenced, mailbox.relay_epoch))
    mailbox.on_hello_refused("stale_epoch", "a newer process has taken over")
    states.append((mailbox.is_accepted, mailbox.is_fenced, mailbox.relay_epoch))
    assert states == [(False, False, None), (True, False, 1), (False, True, 1)]
    assert mailbox.epoch == EPOCH


@pytest.mark.parametrize("is_subscribed_first", [False, True])
def test_a_thread_that_waits_for_the_connection_goes_on_when_it_is_open(
    is_subscribed_first: bool,
) -> None:
    mailbox = closed_mailbox()
    mailbox.take_hello(0.0)
    found: list[bool] = []
    with running(lambda: found.append(mailbox.wait_open(FOREVER_S))):
        wait_until_waiting(mailbox)
        if is_subscribed_first:
            mailbox.on_subscriptions(STREAMS)
        mailbox.on_hello_accepted(accepting(0), 0.0)
        if not is_subscribed_first:
            mailbox.on_subscriptions(STREAMS)
    assert found == [True]


@pytest.mark.parametrize("is_taken_over", [False, True])
def test_threads_are_told_that_the_connection_is_not_open_any_more(is_taken_over: bool) -> None:
    mailbox = open_mailbox()
    found: list[bool] = []

    def wait() -> None:
        found.append(mailbox.waiters.wait(lambda: not mailbox.is_open, FOREVER_S))

    with running(wait):
        wait_until_waiting(mailbox)
        if is_taken_over:
            mailbox.on_hello_refused("stale_epoch", "a newer process has taken over")
        else:
            mailbox.on_subscriptions(NO_STREAMS)
        assert not mailbox.waiters._locks
    assert found == [True]
    assert not mailbox.wait_open(0)


def test_threads_are_left_alone_while_nothing_changes() -> None:
    mailbox = open_mailbox()
    looks: list[None] = []

    def look() -> bool:
        looks.append(None)
        return mailbox.has_ended

    with running(mailbox.waiters.wait, look, FOREVER_S):
        wait_until_waiting(mailbox)
        for _ in range(10):
            mailbox.on_notices([Acknowledged(EPOCH, 0)], 0.0)
            mailbox.on_subscriptions([b"\x01live:"])
        mailbox.finish(CLOSED)
    assert len(looks) <= 3


def test_the_counters_are_right_before_anything_is_taken_and_at_the_end() -> None:
    mailbox = open_mailbox()
    mailbox.on_subscriptions([b"\x01live:"])
    mailbox.add(event(1), None)
    mailbox.add(event(1, "live:a"), None)
    mailbox.add(event(2, "live:a"), None)
    before = {"accepted": 1, "acknowledged": 0, "outbox_full": 0}
    assert mailbox.counters() == before | {"live": 2, "live_sent": 0, "conflated": 0}
    mailbox.take_new()
    assert mailbox.counters() == before | {"live": 2, "live_sent": 0, "conflated": 1}
    assert mailbox.take_live(10) == [event(2, "live:a")]
    mailbox.finish(CLOSED)
    assert mailbox.counters() == before | {"live": 2, "live_sent": 1, "conflated": 1}


def test_a_last_report_does_not_wait_for_its_second() -> None:
    mailbox = quiet_mailbox()
    mailbox.add(event(1, "live:a"), None)
    mailbox.take_new()
    assert mailbox.take_report(0.1) is None
    report = mailbox.take_last_report(0.1)
    assert report is not None
    assert report["conflated"] == 1
    assert mailbox.counters() == report


def test_the_link_is_drained_when_nothing_is_left_to_send_or_to_acknowledge() -> None:
    mailbox = open_mailbox()
    found = [mailbox.is_drained()]
    mailbox.add(event(), None)
    found.append(mailbox.is_drained())
    mailbox.take_new()
    found.append(mailbox.is_drained())
    mailbox.take_events(10, 0.0)
    found.append(mailbox.is_drained())
    mailbox.on_notices([Acknowledged(EPOCH, 1)], 0.0)
    found.append(mailbox.is_drained())
    mailbox.add(event(1, "live:a"), None)
    mailbox.take_new()
    found.append(mailbox.is_drained())
    mailbox.take_live(10)
    found.append(mailbox.is_drained())
    assert found == [True, False, False, False, True, False, True]


def test_a_thread_that_waits_for_the_end_goes_on_at_the_end() -> None:
    mailbox = closed_mailbox()
    found: list[bool] = []
    with running(lambda: found.append(mailbox.waiters.wait(lambda: mailbox.has_ended, FOREVER_S))):
        wait_until_waiting(mailbox)
        mailbox.finish(CLOSED)
        assert not mailbox.waiters._locks
    assert found == [True]


@pytest.fixture
def room_for_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two live values may wait for the link thread, not 10,000."""
    monkeypatch.setattr("emitters.handover.MAX_LIVE_TOPICS", 2)


def add_live(mailbox: Mailbox, *numbers: int) -> None:
    for number in numbers:
        mailbox.add(event(number, f"live:{number}"), None)


@pytest.mark.usefixtures("room_for_two")
def test_a_live_value_waits_until_the_link_has_taken_earlier_ones() -> None:
    mailbox = open_mailbox(max_events=1)
    add_live(mailbox, 1, 2)
    assert not is_woken(mailbox)

    def link() -> None:
        wait_until_waiting(mailbox)
        assert is_woken(mailbox)
        mailbox.take_new()

    with running(link):
        add_live(mailbox, 3)
    mailbox.on_subscriptions([b"\x01live:"])
    mailbox.take_new()
    assert mailbox.take_live(10) == [event(number, f"live:{number}") for number in (1, 2, 3)]
    mailbox.take_report(0.0)
    counters = mailbox.counters()
    assert (counters["live"], counters["live_sent"], counters["outbox_full"]) == (3, 3, 0)
    mailbox.add(event(), None)
    assert counters["accepted"] == 0


@pytest.mark.usefixtures("room_for_two")
def test_the_link_thread_itself_takes_earlier_live_values() -> None:
    """A callback of `on_watch_change` may emit as many as it likes."""
    mailbox = open_mailbox()
    mailbox.begin()
    add_live(mailbox, *range(20))
    mailbox.take_new()
    assert mailbox.counters()["live"] == 20


@pytest.mark.usefixtures("room_for_two")
def test_a_live_value_is_refused_and_counted_when_the_link_takes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("emitters.mailbox.LIVE_ROOM_TIMEOUT_S", 0.01)
    mailbox = open_mailbox()
    add_live(mailbox, 1, 2)
    with pytest.raises(OutboxFull, match="busy and takes no live values"):
        add_live(mailbox, 3)
    counters = mailbox.counters()
    assert (counters["live"], counters["outbox_full"]) == (2, 1)
