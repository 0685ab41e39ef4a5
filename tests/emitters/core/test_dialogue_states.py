"""The state of the dialogue follows from what happened, in any order."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from emitters.core.dialogue import TRANSITIONS, Dialogue, DialogueSignal, DialogueState
from emitters.core.outbox import Outbox
from relay.wire.notices import Acknowledged, Resend
from tests.emitters.core.messages import EPOCH, KINDS, accepting, outgoing, subscribe, unsubscribe


class StateMachine(RuleBasedStateMachine):
    """The model: what is subscribed and said, from which the state follows by its definition."""

    def __init__(self) -> None:
        super().__init__()
        self.outbox = Outbox()
        self.dialogue = Dialogue("manager-1", self.outbox)
        self.now = 0.0
        self.subscribed: set[str] = set()
        self.is_fenced = self.is_greeted = self.is_accepted = self.is_probing = False
        self.acknowledged_at_hello = 0

    @rule(kind=st.sampled_from(KINDS))
    def the_relay_subscribes(self, kind: str) -> None:
        subscribe(self.dialogue, kind)
        self.subscribed.add(kind)

    @rule(kind=st.sampled_from(KINDS))
    def the_relay_unsubscribes(self, kind: str) -> None:
        unsubscribe(self.dialogue, kind)
        if self.subscribed == {kind}:
            self.is_greeted = self.is_accepted = False
        self.subscribed.discard(kind)
        self.is_probing = False

    @rule(seconds=st.sampled_from([0.1, 1.1]))
    def hello_is_said_when_it_is_due(self, seconds: float) -> None:
        self.now += seconds
        is_due = self.dialogue.hello_is_due(self.now)
        assert not is_due or self.dialogue.due_at(self.now) <= self.now
        if not self.is_fenced and not self.is_greeted:
            assert is_due, "a relay that was not greeted is greeted at once"
        if is_due:
            self.dialogue.on_hello_sent(self.now)
            self.is_greeted = True
            self.acknowledged_at_hello = self.outbox.acknowledged

    @rule(progress=st.integers(0, 3))
    def the_relay_accepts(self, progress: int) -> None:
        was_open = self.dialogue.is_open
        before = self.outbox.acknowledged
        sequence = min(before + progress, before + self.outbox.in_flight)
        self.dialogue.on_hello_accepted(accepting(sequence), self.now)
        if self.is_greeted and not self.is_fenced:
            self.is_accepted = True
            if was_open:
                has_progress = sequence > self.acknowledged_at_hello
                self.is_probing = not has_progress or (self.is_probing and sequence == before)
        else:
            assert self.outbox.acknowledged == before, "the reply of a relay that is gone"

    @rule(code=st.sampled_from(["emitter_in_use", "journal_unavailable", "stale_epoch"]))
    def the_relay_refuses(self, code: str) -> None:
        if code != "stale_epoch" or self.now > 20:
            self.dialogue.on_hello_refused(code, "text")
            self.is_fenced = self.is_fenced or code == "stale_epoch"

    @rule(count=st.integers(1, 5))
    def events_are_sent(self, count: int) -> None:
        for _ in range(count):
            self.outbox.add([outgoing(1)])
        if self.dialogue.is_open:
            if not self.outbox.in_flight:
                self.dialogue.on_events_sent(self.now)
            self.outbox.take_unsent(count)

    @rule(count=st.integers(0, 3))
    def the_relay_acknowledges(self, count: int) -> None:
        count = min(count, self.outbox.in_flight)
        self.dialogue.on_notice(Acknowledged(EPOCH, self.outbox.acknowledged + count), self.now)
        if count:
            self.is_probing = False

    @rule()
    def the_relay_asks_to_send_again(self) -> None:
        self.dialogue.on_notice(Resend(EPOCH, self.outbox.acknowledged), self.now)
        if self.dialogue.is_accepted:
            assert self.outbox.in_flight == 0

    @invariant()
    def the_state_follows_from_what_happened(self) -> None:
        if self.is_fenced:
            expected = DialogueState.FENCED
        elif self.is_accepted and self.subscribed == set(KINDS):
            expected = DialogueState.PROBING if self.is_probing else DialogueState.OPEN
        elif self.is_accepted:
            expected = DialogueState.ACCEPTED
        else:
            expected = DialogueState.GREETING if self.is_greeted else DialogueState.DISCONNECTED
        assert self.dialogue.state is expected

    @invariant()
    def only_a_dialogue_that_probes_has_a_window_of_one(self) -> None:
        is_one = self.outbox.window_events == 1
        assert is_one == (self.dialogue.state is DialogueState.PROBING)


TestStates = StateMachine.TestCase


TestStates.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)


def test_the_table_reaches_every_state_and_leaves_all_but_one() -> None:
    reached = {DialogueState.DISCONNECTED} | set(TRANSITIONS.values())
    left = {state for state, _ in TRANSITIONS}
    assert reached == set(DialogueState)
    assert left == set(DialogueState) - {DialogueState.FENCED}


def test_only_an_accepted_hello_leads_to_sending() -> None:
    """Whatever is subscribed: a relay that did not answer may not know where to go on."""
    before = {state for (state, _), target in TRANSITIONS.items() if target is DialogueState.OPEN}
    assert before == {DialogueState.ACCEPTED, DialogueState.PROBING}
    to_accepted = {pair for pair, target in TRANSITIONS.items() if target is DialogueState.ACCEPTED}
    assert (DialogueState.GREETING, DialogueSignal.HELLO_ACCEPTED) in to_accepted
    assert {signal for _, signal in to_accepted} == {
        DialogueSignal.HELLO_ACCEPTED,
        DialogueSignal.UNSUBSCRIBED,
    }
