"""Whether the relay is followed: a model of its states, and single cases."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from edge.core.streams.relay_state import (
    HANDSHAKE_RETRY_S,
    LATE_TICK_S,
    SILENCE_AT_MOST,
    Heard,
    RelayPhase,
    RelayState,
)

TIMEOUT_S = 3.0
TICK_S = 0.25


class StateMachine(RuleBasedStateMachine):
    """The table of states, beside what clients were told."""

    def __init__(self) -> None:
        super().__init__()
        self.state = RelayState(TIMEOUT_S)
        self.now = 0.0
        self.heard_at = self.answered_at = 0.0
        self.timeout_s = TIMEOUT_S
        self.phase = RelayPhase.SEARCHING
        self.followed = (0, 0)
        self.handshake_at: float | None = None

    @initialize()
    def start(self) -> None:
        assert self.state.tick(self.now).is_handshake_due

    @rule()
    def pass_time(self) -> None:
        self.now += TICK_S
        tick = self.state.tick(self.now)
        silent_s, unanswered_s = self.now - self.heard_at, self.now - self.answered_at
        is_silent = silent_s > self.timeout_s and unanswered_s > self.timeout_s
        is_silent |= silent_s > 2 * self.timeout_s
        assert tick.is_lost == (self.phase is not RelayPhase.SEARCHING and is_silent)
        if tick.is_lost:
            self.phase = RelayPhase.SEARCHING
        is_due = self.handshake_at is None or self.now - self.handshake_at >= HANDSHAKE_RETRY_S
        assert tick.is_handshake_due == (is_due and self.phase is not RelayPhase.FOLLOWING)
        if tick.is_handshake_due:
            self.state.begin_handshake(self.now)
            self.handshake_at = self.now

    @rule(heartbeat_s=st.sampled_from([0.0, 0.5, 1.0, 2.0, 60.0]))
    def hear_interval(self, heartbeat_s: float) -> None:
        """Silence of less than three intervals is none."""
        self.state.hear_interval(heartbeat_s)
        self.timeout_s = max(TIMEOUT_S, 3 * heartbeat_s)

    @rule()
    def hear(self) -> None:
        self.state.hear(self.now)
        self.heard_at = self.now

    @rule()
    def hear_answer(self) -> None:
        self.state.hear_answer(self.now)
        self.answered_at = self.now

    @rule(epoch=st.integers(1, 2), started_at=st.integers(1, 2), follows=st.booleans())
    def answer(self, epoch: int, started_at: int, follows: bool) -> None:
        if self.phase is RelayPhase.FOLLOWING:
            return
        assert self.state.take_heartbeat(epoch, started_at, is_answer=True) is Heard.ANSWER
        if follows:
            self.state.follow(epoch, started_at)
            self.phase, self.followed = RelayPhase.FOLLOWING, (epoch, started_at)
        else:
            self.state.repeat_handshake()
            self.handshake_at = None

    @rule()
    def reconnect(self) -> None:
        """The nonce of the last handshake is answered once more."""
        heard = self.state.take_heartbeat(*self.followed, is_answer=True)
        if self.phase is RelayPhase.FOLLOWING:
            assert heard is Heard.RECONNECTED
        else:
            assert heard is Heard.ANSWER

    @rule(is_answer=st.booleans())
    def roll_back(self, is_answer: bool) -> None:
        """A relay that has lost events is not followed before a new epoch; an old heartbeat of the
        one that is followed means nothing."""
        epoch, started_at = self.followed
        heard = self.state.take_heartbeat(
            epoch, started_at, is_answer=is_answer, is_rolled_back=True
        )
        if self.phase is RelayPhase.FOLLOWING:
            assert heard is (Heard.RECONNECTED if is_answer else Heard.PROGRESS)
        else:
            assert heard is (Heard.ROLLBACK if is_answer else Heard.NOTHING)

    @rule(epoch=st.integers(1, 2), started_at=st.integers(1, 2))
    def beat(self, epoch: int, started_at: int) -> None:
        heard = self.state.take_heartbeat(epoch, started_at, is_answer=False)
        if self.phase is not RelayPhase.FOLLOWING:
            assert heard is Heard.NOTHING
        elif (epoch, started_at) == self.followed:
            assert heard is Heard.PROGRESS
        else:
            assert heard is Heard.RESTART
            self.phase = RelayPhase.SYNCHRONIZING

    @invariant()
    def the_states_agree(self) -> None:
        assert self.state.phase is self.phase
        assert self.state.is_alive == (self.phase is RelayPhase.FOLLOWING)


TestRelayStateAgainstModel = StateMachine.TestCase
TestRelayStateAgainstModel.settings = settings(
    max_examples=100, stateful_step_count=60, deadline=None
)


def test_a_process_that_stood_still_does_not_blame_the_relay() -> None:
    """The relay's heartbeats wait in the socket."""
    state = RelayState(TIMEOUT_S)
    state.hear(10.0)
    state.follow(1, 1)
    state.tick(10.0)
    assert not state.tick(10.0 + 100 * TIMEOUT_S).is_lost
    assert state.is_alive


def test_a_relay_that_stays_silent_after_that_is_lost_nevertheless() -> None:
    state = RelayState(TIMEOUT_S)
    state.hear(10.0)
    state.follow(1, 1)
    now = 1000.0
    state.tick(now)
    ticks = [state.tick(now := now + LATE_TICK_S) for _ in range(5)]
    assert [tick.is_lost for tick in ticks] == [False, False, False, True, False]


def lost_after(*, answers: bool) -> float:
    """Seconds without an event or heartbeat until the relay is lost."""
    state = RelayState(TIMEOUT_S)
    state.hear(10.0)
    state.follow(1, 1)
    now = 10.0
    while not state.tick(now).is_lost:
        now += TICK_S
        if answers:
            state.hear_answer(now)
    return now - 10.0


def test_a_relay_that_answers_requests_is_there_though_its_heartbeats_are_late() -> None:
    assert lost_after(answers=False) == TIMEOUT_S + TICK_S
    assert lost_after(answers=True) == SILENCE_AT_MOST * TIMEOUT_S + TICK_S


def test_any_message_ends_the_silence() -> None:
    state = RelayState(TIMEOUT_S)
    state.follow(1, 1)
    for second in range(1, 20):
        state.hear(float(second))
        assert not state.tick(float(second)).is_lost
    assert [state.tick(19.0 + second).is_lost for second in (1.0, 2.0, 3.0, 4.0)] == [
        False,
        False,
        False,
        True,
    ]


def test_a_relay_that_seldom_beats_may_be_silent_for_three_intervals() -> None:
    state = RelayState(TIMEOUT_S)
    state.hear_interval(2.0)
    state.follow(1, 1)
    assert [now for now in range(1, 9) if state.tick(float(now)).is_lost] == [7]


def test_an_answer_counts_for_as_long_as_a_heartbeat() -> None:
    state = RelayState(TIMEOUT_S)
    state.hear(10.0)
    state.hear_answer(11.0)
    state.follow(1, 1)
    lost = [state.tick(now).is_lost for now in (10.5, 11.5, 12.5, 13.5, 14.0, 14.5)]
    assert lost == [False, False, False, False, False, True]


def test_before_a_relay_is_heard_nothing_is_known_to_be_wrong_with_its_journal() -> None:
    state = RelayState(TIMEOUT_S)
    assert state.is_journaling
    assert not state.is_journal_damaged
