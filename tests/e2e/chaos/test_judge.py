"""The judge of the chaos suite finds each kind of problem."""

from collections.abc import Callable

import pytest

from tests.e2e.chaos.judge import (
    Address,
    JournalStream,
    Run,
    Watcher,
    address_problems,
    journal_problems,
    watcher_problems,
)
from tests.e2e.chaos.traffic import Route
from tests.support.swarm_record import Record, StreamRecord, payload_key

EPOCH = 17
EVERYBODY = Address("event:a", None)
KILLED = Run(id=1, emitter="load-0", recorded=3, killed=True)
CLOSED = Run(id=2, emitter="load-0", recorded=4, killed=False)
ALICE_OFFSETS = {"event": [1, 2, 3, 6, 7], "task": [1]}


def make_journal(*events: tuple[int, int, Address]) -> JournalStream:
    """A stream with `(run, number, address)` at the offsets 1, 2, 3…"""
    stream = JournalStream()
    for offset, (run, number, address) in enumerate(events, 1):
        stream.add(offset, payload_key(run, number), address)
    return stream


@pytest.fixture
def journal() -> dict[str, JournalStream]:
    """Two lives of one emitter, in both streams."""
    return {
        "event": make_journal(
            (1, 1, EVERYBODY),
            (1, 2, Address("event:a", "alice")),
            (1, 3, EVERYBODY),
            (2, 1, Address("event:a", "bob")),
            (2, 2, Address("event:b", None)),
            (2, 3, EVERYBODY),
            (2, 4, Address("event:bc", None)),
        ),
        "task": make_journal(
            (1, 4, Address("task:1", "alice")),
        ),
    }


@pytest.fixture
def alice(journal: dict[str, JournalStream]) -> Watcher:
    """A client of alice with the subscriptions `event:a` and `event:bc*` and all of its events."""
    record = Record(("event:a", "event:bc*"), personal_position=0)
    record.starts = {"event:a": {"event": 0}, "event:bc*": {"event": 0}}
    record.epochs = {EPOCH}
    for name, offsets in ALICE_OFFSETS.items():
        record.streams[name].offsets.extend(offsets)
        record.streams[name].keys.extend(journal[name].keys[offset - 1] for offset in offsets)
    return Watcher("client-1", "alice", record)


def test_a_right_journal_and_a_right_record_pass(
    journal: dict[str, JournalStream], alice: Watcher
) -> None:
    assert journal_problems(journal, [KILLED, CLOSED]) == []
    assert watcher_problems(journal, alice, EPOCH) == []


def test_a_subscription_begins_at_its_position(
    journal: dict[str, JournalStream], alice: Watcher
) -> None:
    alice.record.starts["event:a"] = {"event": 2}
    events = alice.record.streams["event"]
    del events.offsets[:2], events.keys[:2]
    assert watcher_problems(journal, alice, EPOCH) == []
    alice.record.starts["event:a"] = {"event": 1}
    assert watcher_problems(journal, alice, EPOCH) == [
        "client-1 (alice): event: 3 of 4 events: missing 2"
    ]


def lose(events: StreamRecord) -> None:
    del events.offsets[2], events.keys[2]


def lose_the_last(events: StreamRecord) -> None:
    events.offsets.pop()
    events.keys.pop()


def double(events: StreamRecord) -> None:
    events.offsets.insert(2, events.offsets[1])
    events.keys.insert(2, events.keys[1])


def repeat_later(events: StreamRecord) -> None:
    events.offsets.append(events.offsets[0])
    events.keys.append(events.keys[0])


def swap(events: StreamRecord) -> None:
    for column in (events.offsets, events.keys):
        column[0], column[1] = column[1], column[0]


def swap_payloads(events: StreamRecord) -> None:
    events.keys[0], events.keys[1] = events.keys[1], events.keys[0]


def overhear(events: StreamRecord) -> None:
    events.offsets.insert(3, 4)
    events.keys.insert(3, payload_key(2, 1))


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lose, "event: 4 of 5 events: missing 3"),
        (lose_the_last, "event: 4 of 5 events: missing 7"),
        (double, "event: 6 of 5 events: twice 2"),
        (repeat_later, "event: 6 of 5 events: twice 1, out of order 1"),
        (swap, "event: 5 of 5 events: out of order 1"),
        (swap_payloads, "event 1: the payload is (1, 2), in the journal (1, 1)"),
        (overhear, "event: 6 of 5 events: not for it 4"),
    ],
)
def test_a_wrong_record_is_noticed(
    journal: dict[str, JournalStream],
    alice: Watcher,
    spoil: Callable[[StreamRecord], None],
    told: str,
) -> None:
    spoil(alice.record.streams["event"])
    assert watcher_problems(journal, alice, EPOCH)[0] == f"client-1 (alice): {told}"


def test_another_users_task_is_noticed(journal: dict[str, JournalStream], alice: Watcher) -> None:
    eve = Watcher("client-2", "eve", alice.record)
    assert "task: 1 of 0 events: not for it 1" in " ".join(watcher_problems(journal, eve, EPOCH))


def test_a_lost_task_is_noticed(journal: dict[str, JournalStream], alice: Watcher) -> None:
    del alice.record.streams["task"]
    assert watcher_problems(journal, alice, EPOCH) == [
        "client-1 (alice): task: 0 of 1 events: missing 1"
    ]


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ({"type": "gap", "stream": "event", "from": 1, "to": 2}, "was told {'type': 'gap'"),
        ({"status": "error", "message": "no", "code": "forbidden"}, "error reply"),
        ({"type": "position", "epoch": EPOCH + 1, "position": {}}, "was told the epochs"),
        ({"type": "position", "epoch": EPOCH, "position": {"event": 1}}, "told position 1 after 7"),
        (
            {
                "status": "success",
                "id": 0,
                "epoch": EPOCH,
                "position": {"event": 7},
                "recovered": False,
            },
            "recovered:false 1 times",
        ),
    ],
)
def test_what_an_edge_may_not_say_is_noticed(
    journal: dict[str, JournalStream], alice: Watcher, message: dict[str, object], told: str
) -> None:
    alice.record.positions["event"] = 7
    alice.record.take(message)
    [problem] = watcher_problems(journal, alice, EPOCH)
    assert told in problem


def test_an_event_lost_before_the_journal_is_noticed(journal: dict[str, JournalStream]) -> None:
    more = Run(id=2, emitter="load-0", recorded=5, killed=False)
    assert journal_problems(journal, [KILLED, more]) == [
        "run 2: 5 were taken, 4 are in the journal"
    ]


def test_a_killed_run_may_have_one_more_and_no_two(journal: dict[str, JournalStream]) -> None:
    fewer = Run(id=1, emitter="load-0", recorded=2, killed=True)
    assert journal_problems(journal, [fewer, CLOSED]) == [
        "run 1: 2 were taken, 4 are in the journal"
    ]
    closed = Run(id=1, emitter="load-0", recorded=3, killed=False)
    assert journal_problems(journal, [closed, CLOSED]) == [
        "run 1: 3 were taken, 4 are in the journal"
    ]


def test_a_doubled_event_in_the_journal_is_noticed(journal: dict[str, JournalStream]) -> None:
    journal["event"].add(8, payload_key(2, 4), EVERYBODY)
    assert journal_problems(journal, [KILLED, CLOSED]) == [
        "journal, event 8: number 4 of run 2 comes after number 4",
        "run 2: missing none, in the journal twice 4",
        "run 2: 4 were taken, 5 are in the journal",
    ]


def test_swapped_events_in_the_journal_are_noticed(journal: dict[str, JournalStream]) -> None:
    keys = journal["event"].keys
    keys[0], keys[1] = keys[1], keys[0]
    assert journal_problems(journal, [KILLED, CLOSED]) == [
        "journal, event 2: number 1 of run 1 comes after number 2"
    ]


def test_a_life_that_is_journaled_too_late_is_noticed(journal: dict[str, JournalStream]) -> None:
    keys = journal["event"].keys
    keys[2], keys[3] = keys[3], keys[2]
    assert journal_problems(journal, [KILLED, CLOSED]) == [
        "journal, event 4: run 1 comes after run 2"
    ]


def test_a_hole_in_the_offsets_is_noticed(journal: dict[str, JournalStream]) -> None:
    journal["event"].offsets[6] = 8
    assert journal_problems(journal, [KILLED, CLOSED]) == [
        "journal, event: the offsets are not 1 to 7"
    ]


def test_an_event_nobody_emitted_is_noticed(journal: dict[str, JournalStream]) -> None:
    journal["event"].keys.append(payload_key(9, 1))
    journal["event"].offsets.append(8)
    journal["event"].addresses.append(EVERYBODY)
    assert journal_problems(journal, [KILLED, CLOSED]) == [
        "journal, event 8: run 9 was never started"
    ]


NOTES = Address("addressed:event:a", "alice"), Address("addressed:event:b", "bob")
SENT = {
    payload_key(3, 1): Route("event:a", None),
    payload_key(3, 2): Route("event:a", "alice"),
    payload_key(3, 3): Route("event:b", "bob"),
    payload_key(3, 4): Route("task:1", "alice"),
    payload_key(3, 5): Route("event:a", "alice"),
}


def sent(run: int, number: int) -> Route:
    return SENT[payload_key(run, number)]


@pytest.fixture
def notes() -> dict[str, JournalStream]:
    """A journal with events for one user."""
    return {
        "event": make_journal((3, 1, EVERYBODY)),
        "task": make_journal((3, 4, Address("task:1", "alice"))),
        "addressed": make_journal((3, 2, NOTES[0]), (3, 3, NOTES[1]), (3, 5, NOTES[0])),
    }


@pytest.fixture
def tab(notes: dict[str, JournalStream]) -> Watcher:
    """A client of alice without a subscription, and with all of its events."""
    record = Record((), personal_position=0)
    record.epochs = {EPOCH}
    for name, offsets in {"addressed": [1, 3], "task": [1]}.items():
        record.streams[name].offsets.extend(offsets)
        record.streams[name].keys.extend(notes[name].keys[offset - 1] for offset in offsets)
    return Watcher("client-3", "alice", record)


def test_events_for_one_user_are_due_without_a_subscription(
    notes: dict[str, JournalStream], tab: Watcher
) -> None:
    run = Run(id=3, emitter="load-1", recorded=5, killed=False)
    assert journal_problems(notes, [run]) == []
    assert address_problems(notes, sent) == []
    assert watcher_problems(notes, tab, EPOCH) == []
    lost = tab.record.streams.pop("addressed")
    assert watcher_problems(notes, tab, EPOCH) == [
        "client-3 (alice): addressed: 0 of 2 events: missing 1, 3"
    ]
    lost.offsets.insert(1, 2)
    lost.keys.insert(1, payload_key(3, 3))
    tab.record.streams["addressed"] = lost
    assert watcher_problems(notes, tab, EPOCH) == [
        "client-3 (alice): addressed: 3 of 2 events: not for it 2"
    ]


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("event", Address("event:b", None)),
        ("event", Address("event:a", "alice")),
        ("addressed", Address("event:a", "alice")),
        ("addressed", Address("addressed:event:a", "bob")),
        ("addressed", Address("addressed:event:a", None)),
        ("task", Address("addressed:task:1", "alice")),
    ],
)
def test_an_event_under_another_address_is_noticed(
    notes: dict[str, JournalStream], name: str, address: Address
) -> None:
    notes[name].addresses[0] = address
    [problem] = address_problems(notes, sent)
    assert problem.startswith(f"journal, {name} 1: {address}, but was emitted as ")


def test_an_event_in_another_stream_is_noticed(notes: dict[str, JournalStream]) -> None:
    notes["event"].add(2, payload_key(3, 2), NOTES[0])
    [problem] = address_problems(notes, sent)
    assert problem.startswith("journal, event 2: ")
