"""Whether the relay answers: what silence means, and when something is due."""

from itertools import pairwise

import pytest

from edge.core.control.control_health import (
    ANSWER_TIMEOUT_S,
    LATE_TICK_S,
    PROBE_INTERVAL_S,
    PROBE_REPEAT_S,
    RECONNECT_AFTER_S,
    RECONNECT_AT_MOST_S,
    REPLAY_TIMEOUT_S,
    ControlHealth,
    ControlTick,
)

TICK_S = 0.25


class Clock:
    """Ticks a health as the subscriber does, with an answer to every probe if the relay is well."""

    def __init__(self, now: float = 1000.0) -> None:
        self.health = ControlHealth()
        self.now = now
        self.is_well = True
        self.is_probed = False
        self.replays = False
        """Whether a replay is requested, which the relay does not answer."""
        self.probes: list[float] = []
        self.reconnects: list[float] = []
        self.failures: list[float] = []

    def tick(self) -> ControlTick:
        self.now += TICK_S
        if self.is_probed and self.is_well:
            self.health.hear(self.now)
            self.is_probed = False
        waits = self.is_probed or self.replays
        due = self.health.tick(self.now, is_waiting=waits, is_replay_waiting=self.replays)
        if due.probe:
            self.health.probe_sent(self.now)
            self.is_probed = True
            self.probes.append(self.now)
        if due.reconnect:
            self.reconnects.append(self.now)
        if due.replays_failed:
            self.failures.append(self.now)
        return due

    def answers(self) -> bool:
        return self.health.is_answering

    def is_replaying(self) -> bool:
        return self.health.is_replaying

    def run(self, seconds: float) -> None:
        for _ in range(int(seconds / TICK_S)):
            self.tick()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_before_the_first_answer_nothing_is_known_to_answer(clock: Clock) -> None:
    assert not clock.answers()
    clock.run(1)
    assert clock.answers()
    assert clock.probes[0] == 1000.0 + TICK_S, "it is asked at once"


def test_a_relay_that_answers_is_asked_once_a_second(clock: Clock) -> None:
    clock.run(20)
    gaps = [later - sooner for sooner, later in pairwise(clock.probes)]
    assert set(gaps) == {PROBE_INTERVAL_S + TICK_S}
    assert clock.answers()
    assert clock.reconnects == []


def test_silence_is_known_after_the_timeout_and_ends_with_any_answer(clock: Clock) -> None:
    clock.run(5)
    clock.is_well, before = False, clock.now
    while clock.answers():
        clock.tick()
    assert clock.now - before <= ANSWER_TIMEOUT_S + PROBE_INTERVAL_S + 3 * TICK_S
    clock.health.hear(clock.now)
    assert clock.answers()


def test_an_unanswered_probe_is_followed_by_another(clock: Clock) -> None:
    """After a new connection it is the first request that is answered."""
    clock.is_well = False
    clock.run(9)
    gaps = [later - sooner for sooner, later in pairwise(clock.probes)]
    assert set(gaps) == {PROBE_REPEAT_S}


def test_a_long_silence_replaces_the_connection_with_growing_patience(clock: Clock) -> None:
    clock.is_well = False
    clock.run(400)
    times = [1000.0 + 2 * TICK_S, *clock.reconnects]
    gaps = [later - sooner for sooner, later in pairwise(times)]
    growing = [RECONNECT_AFTER_S * 2**number for number in range(3)]
    assert gaps == growing + [RECONNECT_AT_MOST_S] * (len(gaps) - 3)
    assert len(gaps) > 4


def test_answers_that_arrive_keep_the_connection_however_many_wait(clock: Clock) -> None:
    for _ in range(30):
        clock.health.tick(clock.now, is_waiting=True, is_replay_waiting=True)
        clock.now += LATE_TICK_S
        clock.health.hear(clock.now, is_replay=True)
        due = clock.health.tick(clock.now, is_waiting=True, is_replay_waiting=True)
        assert not due.reconnect
        assert not due.replays_failed
        assert clock.answers()


def test_a_relay_that_answers_but_replays_nothing_is_known(clock: Clock) -> None:
    clock.run(2)
    clock.replays, before = True, clock.now
    while clock.is_replaying():
        clock.tick()
    assert clock.now - before <= REPLAY_TIMEOUT_S + 2 * TICK_S
    assert clock.answers()
    assert clock.failures == [clock.now]
    clock.health.hear(clock.now, is_replay=True)
    assert clock.is_replaying()
    clock.replays = False
    clock.run(20)
    assert clock.is_replaying(), "nothing is requested"


def test_what_is_requested_after_a_failure_has_its_own_time(clock: Clock) -> None:
    clock.replays = True
    clock.run(REPLAY_TIMEOUT_S + 1)
    assert not clock.is_replaying()
    clock.replays = False
    clock.tick()
    assert clock.is_replaying()
    clock.replays = True
    clock.run(REPLAY_TIMEOUT_S - 1)
    assert clock.is_replaying()


def test_a_standstill_of_this_process_is_nobody_else_s_silence(clock: Clock) -> None:
    """Answers may wait in the socket that nobody has read."""
    clock.run(2)
    clock.is_well, clock.replays = False, True
    clock.run(1)
    clock.now += 60.0
    due = clock.tick()
    assert clock.answers()
    assert not due.reconnect
    assert not due.replays_failed


def test_silence_is_measured_from_the_request_to_the_second() -> None:
    """Ticks that come a second apart are not late."""
    health = ControlHealth()
    health.hear(0.0)
    seconds = [float(second) for second in range(12)]
    due = [health.tick(now, is_waiting=True, is_replay_waiting=True) for now in seconds[:4]]
    assert due[-1] == ControlTick(probe=True, reconnect=False, replays_failed=False)
    answering = [health.is_answering]
    due += [health.tick(now, is_waiting=True, is_replay_waiting=True) for now in seconds[4:]]
    assert [*answering, health.is_answering] == [True, False]
    assert [each.replays_failed for each in due].index(True) == REPLAY_TIMEOUT_S + 1
    assert [each.reconnect for each in due].index(True) == RECONNECT_AFTER_S


def test_without_a_request_nothing_but_a_probe_is_due() -> None:
    tick = ControlHealth().tick(1000.0, is_waiting=False, is_replay_waiting=False)
    assert tick == ControlTick(probe=True, reconnect=False, replays_failed=False)


def test_an_answer_ends_the_growing_patience(clock: Clock) -> None:
    clock.is_well = False
    clock.run(RECONNECT_AFTER_S + RECONNECT_AFTER_S)
    assert len(clock.reconnects) == 1
    clock.is_well = True
    clock.run(5)
    clock.is_well = False
    clock.run(RECONNECT_AFTER_S + 2 * PROBE_INTERVAL_S)
    assert len(clock.reconnects) == 2
