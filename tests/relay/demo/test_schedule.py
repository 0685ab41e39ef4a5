"""A demo manager always has something to do, and never too much at once."""

from itertools import pairwise
from random import Random

from relay.demo.schedule import Do, Schedule, Step

SERVERS = ("survival", "creative")


def play(seconds: float, *, down: bool = False) -> list[tuple[float, Step]]:
    """Return what is done in the first `seconds`; every step succeeds at once."""
    schedule = Schedule(SERVERS, ("alice", "bob"), 0.0, Random(1))
    running = set() if down else set(SERVERS)
    played = []
    while (now := schedule.next_at()) <= seconds:
        for step in schedule.take_due(now, running, set()):
            played.append((now, step))
            if step.do is Do.STOP:
                running.discard(step.server_name)
                schedule.start_again(step.server_name, now)
            elif step.do is Do.START:
                running.add(step.server_name)
    return played


def test_everything_happens_within_a_minute() -> None:
    assert {step.do for _, step in play(60)} == set(Do)


def test_something_happens_every_two_seconds_but_not_more_than_one_action_a_second() -> None:
    background = (Do.EMIT_STATUSES, Do.BACK_UP, Do.START)
    times = [at for at, step in play(300) if step.do not in background]
    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert min(pauses) > 1
    assert max(pauses) < 2


def test_users_and_servers_take_turns_in_backups() -> None:
    backed_up = [(at, step) for at, step in play(40) if step.do is Do.BACK_UP]
    assert backed_up[0][0] <= 3
    assert [(step.username, step.server_name) for _, step in backed_up[:3]] == [
        ("alice", "survival"),
        ("bob", "creative"),
        ("alice", "survival"),
    ]
    pauses = [later[0] - earlier[0] for earlier, later in pairwise(backed_up)]
    assert all(8 <= pause <= 10 for pause in pauses)


def test_a_stopped_server_is_started_again_and_only_one_is_down_at_a_time() -> None:
    down: list[str] = []
    for _, step in play(300):
        if step.do is Do.STOP:
            assert down == []
            down.append(step.server_name)
        elif step.do is Do.START:
            down.remove(step.server_name)
        elif step.server_name and step.do is not Do.BACK_UP:
            assert step.server_name not in down


def test_statuses_are_told_every_five_seconds_even_when_all_is_down() -> None:
    steps = play(21, down=True)
    assert [at for at, step in steps if step.do is Do.EMIT_STATUSES] == [5, 10, 15, 20]
    assert {step.do for _, step in steps} == {Do.EMIT_STATUSES, Do.BACK_UP}


def test_a_server_that_is_being_backed_up_is_left_alone() -> None:
    schedule = Schedule(SERVERS, ("alice",), 0.0, Random(1))
    steps = []
    while (now := schedule.next_at()) < 120:
        steps += schedule.take_due(now, set(SERVERS), {"survival"})
    assert all(
        step.server_name == "creative"
        for step in steps
        if step.do in (Do.STOP, Do.RESTART, Do.BACK_UP)
    )
