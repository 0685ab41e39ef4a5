"""A task is orphaned when its emitter has been away for the grace period, and not before."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from relay.core import orphans as orphans_module
from relay.core.orphans import (
    ORPHANED_MESSAGE,
    TaskOwner,
    TaskOwners,
    is_orphan,
    orphaned_state,
)
from relay.wire.envelope import Envelope, pack_envelope, unpack_envelope

GRACE_S = 30.0
A, B = TaskOwner(b"a" * 16, 1), TaskOwner(b"b" * 16, 1)


def state(status: str = "in_progress", *, bound: bool = True, **data: object) -> Envelope:
    content = {"status": status, "message": "m", "result": None, "username": "alice"} | data
    return Envelope("task_update", content, "alice", "manager-1", 5, "id-1", bound)


def test_an_emitter_that_stays_keeps_its_tasks() -> None:
    owners = TaskOwners(GRACE_S)
    owners.keep("task:1", A, 1)
    for now in (0.0, 100.0, 10_000.0):
        assert owners.orphaned(now, lambda _: 0) == []


def test_the_grace_period_starts_when_the_absence_is_seen_first() -> None:
    owners = TaskOwners(GRACE_S)
    owners.keep("task:1", A, 1)
    assert owners.orphaned(100.0, lambda _: None) == []
    assert owners.orphaned(129.9, lambda _: None) == []
    assert owners.orphaned(130.0, lambda _: None) == ["task:1"]
    assert owners.orphaned(131.0, lambda _: None) == ["task:1"], "until it is forgotten"
    owners.forget("task:1")
    assert owners.orphaned(132.0, lambda _: None) == []


def test_an_emitter_that_returns_in_time_gets_a_whole_period_again() -> None:
    owners = TaskOwners(GRACE_S)
    owners.keep("task:1", A, 1)
    owners.orphaned(0.0, lambda _: None)
    owners.orphaned(29.0, lambda _: 0)
    assert owners.orphaned(31.0, lambda _: None) == []
    assert owners.orphaned(61.0, lambda _: None) == ["task:1"]


def test_a_new_state_starts_the_period_again() -> None:
    owners = TaskOwners(GRACE_S)
    owners.keep("task:1", A, 1)
    owners.orphaned(0.0, lambda _: None)
    owners.keep("task:1", B, 7)
    presence = {A: None, B: 0}
    assert owners.orphaned(100.0, presence.get) == []
    owners.keep("task:1", A, 2)
    assert owners.orphaned(101.0, presence.get) == []
    assert owners.orphaned(131.0, presence.get) == ["task:1"]


def test_a_process_that_goes_on_with_a_spool_has_its_own_tasks_only() -> None:
    """States up to the inherited number are of an earlier process, although the epoch is one."""
    owners = TaskOwners(GRACE_S)
    owners.keep("task:earlier", A, 10)
    owners.keep("task:own", A, 11)
    owners.orphaned(0.0, lambda _: 10)
    assert owners.orphaned(30.0, lambda _: 10) == ["task:earlier"]


def test_an_emitter_whose_tasks_have_all_ended_takes_up_no_turn() -> None:
    owners = TaskOwners(GRACE_S)
    owners.keep("task:a", A, 1)
    owners.keep("task:b", B, 1)
    owners.forget("task:a")
    asked: list[TaskOwner] = []
    owners.orphaned(0.0, lambda owner: asked.append(owner))
    assert asked == [B]


def test_each_emitter_has_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orphans_module, "MAX_EMITTERS_AT_ONCE", 2)
    owners = TaskOwners(0.0)
    everybody = [TaskOwner(bytes([n]) * 16, 1) for n in range(5)]
    for n, owner in enumerate(everybody):
        owners.keep(f"task:{n}", owner, 1)
    asked: list[TaskOwner] = []

    def is_here(owner: TaskOwner) -> int:
        asked.append(owner)
        return 0

    for _ in range(5):
        owners.orphaned(0.0, is_here)
    assert asked == everybody * 2


def test_the_tasks_of_one_look_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orphans_module, "MAX_TASKS_AT_ONCE", 3)
    owners = TaskOwners(0.0)
    for n in range(8):
        owners.keep(f"task:{n}", A, n)
    ended = []
    while found := owners.orphaned(0.0, lambda _: None):
        assert len(found) <= 3
        for topic in found:
            owners.forget(topic)
            ended.append(topic)
    assert ended == [f"task:{n}" for n in range(8)]
    assert len(owners) == 0


def test_a_look_that_has_enough_tasks_asks_no_further_emitter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So that the others come first at the next look."""
    monkeypatch.setattr(orphans_module, "MAX_TASKS_AT_ONCE", 2)
    owners = TaskOwners(0.0)
    for n in range(2):
        owners.keep(f"task:a{n}", A, n)
        owners.keep(f"task:b{n}", B, n)
    assert owners.orphaned(0.0, lambda _: None) == ["task:a0", "task:a1"]
    assert owners.orphaned(0.0, lambda _: None) == ["task:b0", "task:b1"]


def test_only_states_that_end_with_their_emitter_are_orphans() -> None:
    assert is_orphan(state())
    assert not is_orphan(state(bound=False)), "a script that publishes with one process a state"
    assert is_orphan(state("queued"))
    assert is_orphan(state("running"))
    assert not is_orphan(state("success"))
    assert not is_orphan(state("cancelled"))
    assert not is_orphan(state("paused")), "a status of somebody else's own"


@pytest.mark.parametrize(
    ("status", "last"), [("in_progress", "error"), ("queued", "failed"), ("running", "failed")]
)
def test_the_final_state_is_in_the_words_of_the_emitter(status: str, last: str) -> None:
    assert orphaned_state(state(status), 9, "id").data["status"] == last


def test_the_final_state_has_the_shape_of_any_other() -> None:
    final = orphaned_state(state(progress=0.5, extra="x" * 1000), 9, "id-2")
    assert unpack_envelope(pack_envelope(final, "task"), "task") == final
    assert final == Envelope(
        "task_update",
        {
            "status": "error",
            "message": ORPHANED_MESSAGE,
            "result": None,
            "username": "alice",
            "progress": 0.5,
        },
        "alice",
        "manager-1",
        9,
        "id-2",
    )
    assert "progress" not in orphaned_state(state(), 9, "id").data
    assert not is_orphan(final)


class Owners(RuleBasedStateMachine):
    """Tasks and emitters that come and go, against a plain list of absences."""

    def __init__(self) -> None:
        super().__init__()
        self.owners = TaskOwners(GRACE_S)
        self.now = 0.0
        self.here: set[TaskOwner] = set()
        self.model: dict[str, tuple[TaskOwner, float | None]] = {}

    topics = st.sampled_from(["task:1", "task:2", "task:3"])
    emitters = st.sampled_from([A, B])

    @rule(topic=topics, owner=emitters)
    def publish(self, topic: str, owner: TaskOwner) -> None:
        self.owners.keep(topic, owner, 1)
        self.model[topic] = (owner, None)

    @rule(topic=topics)
    def finish(self, topic: str) -> None:
        self.owners.forget(topic)
        self.model.pop(topic, None)

    @rule(owner=emitters)
    def come(self, owner: TaskOwner) -> None:
        self.here.add(owner)

    @rule(owner=emitters)
    def leave(self, owner: TaskOwner) -> None:
        self.here.discard(owner)

    @rule(seconds=st.sampled_from([1.0, 15.0, 30.0]))
    def look(self, seconds: float) -> None:
        self.now += seconds
        expected = set()
        for topic, (owner, since) in self.model.items():
            if owner in self.here:
                self.model[topic] = (owner, None)
                continue
            since = self.now if since is None else since
            self.model[topic] = (owner, since)
            if self.now - since >= GRACE_S:
                expected.add(topic)
        found = self.owners.orphaned(self.now, lambda owner: 0 if owner in self.here else None)
        assert set(found) == expected

    @invariant()
    def nothing_is_left_behind(self) -> None:
        assert len(self.owners) == len(self.model)
        assert not set(self.owners._away_since) - set(self.model)
        assert sum(map(len, self.owners._tasks.values())) == len(self.model)


TestOwners = Owners.TestCase
TestOwners.settings = settings(max_examples=50, stateful_step_count=30)
