"""`CallQueue`: turns of users, bounds, and calls whose clients wait no longer."""

import pytest

from emitters.core import call_queue as module
from emitters.core.call_queue import CallQueue
from relay.wire.calls import CallNotice


def call(number: int, username: str = "alice", timeout_s: float = 10.0) -> CallNotice:
    return CallNotice(number, "m", b"", username, "user", timeout_s)


def taken(queue: CallQueue, now: float = 0.0) -> list[int]:
    """The numbers of all calls, in the order in which they are run."""
    notices = iter(lambda: queue.take(now), None)
    return [each.call for each in notices]


def test_users_take_turns_and_each_has_its_order() -> None:
    queue = CallQueue()
    for number in range(4):
        assert queue.put(call(number), 0.0)
    assert queue.put(call(10, "bob"), 0.0)
    assert queue.put(call(11, "bob"), 0.0)
    assert queue.put(call(20, "carol"), 0.0)
    assert taken(queue) == [0, 10, 20, 1, 11, 2, 3]


def test_one_user_leaves_room_for_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WAITING_CALLS", 3)
    monkeypatch.setattr(module, "MAX_WAITING_CALLS_PER_USER", 2)
    queue = CallQueue()
    assert [queue.put(call(number), 0.0) for number in range(3)] == [True, True, False]
    assert queue.put(call(10, "bob"), 0.0)
    assert not queue.put(call(20, "carol"), 0.0)


def test_calls_whose_clients_wait_no_longer_are_not_run_and_make_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_WAITING_CALLS", 2)
    queue = CallQueue()
    assert queue.put(call(1, timeout_s=1.0), 0.0)
    assert queue.put(call(2, timeout_s=5.0), 0.0)
    assert not queue.put(call(3, "bob"), 0.5)
    assert queue.put(call(4, "bob"), 1.0)
    assert not queue.put(call(5, "carol"), 1.0)
    assert taken(queue, 5.0) == [4]


def test_all_calls_can_be_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WAITING_CALLS", 3)
    queue = CallQueue()
    for number, user in enumerate(("alice", "bob", "alice")):
        queue.put(call(number, user), 0.0)
    assert sorted(each.call for each in queue.take_all()) == [0, 1, 2]
    assert queue.take(0.0) is None
    assert queue.put(call(4), 0.0)
