"""`RequestTable` against a model: each request is unsent, unanswered, postponed, or gone."""

import msgpack
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from relay.shared.request_table import Answer, RequestTable, TooManyRequests
from relay.wire.control import ErrorReply, StatsReply, StatsRequest, pack_message
from relay.wire.errors import InvalidFrame

MAX_REQUESTS = 4


def table() -> RequestTable[str]:
    return RequestTable(MAX_REQUESTS)


def ask(subject: RequestTable[str], waiter: str = "w", *, keep: bool = False) -> int:
    return subject.add(lambda key: StatsRequest(id=key), waiter, keep=keep)


def send_all(subject: RequestTable[str], now: float = 0.0) -> list[int]:
    sent = []
    while (request := subject.next_unsent()) is not None:
        sent.append(request.id)
        subject.was_sent(now)
    return sent


def reply(identifier: int) -> bytes:
    return pack_message(StatsReply(id=identifier, stats={}))


def test_a_reply_comes_back_with_its_waiter_until_the_request_is_dropped() -> None:
    subject = table()
    first, second = ask(subject, "first"), ask(subject, "second")
    assert send_all(subject, 3.0) == [first, second]
    stats = StatsReply(id=second, stats={})
    assert subject.take_reply(reply(second)) == Answer(second, "second", stats, 3.0)
    subject.drop(second)
    assert subject.take_reply(reply(second)) is None
    assert list(subject.waiters) == ["first"]


def test_a_request_that_was_refused_is_sent_again_in_its_time() -> None:
    subject = table()
    key = ask(subject)
    send_all(subject)
    error = ErrorReply(id=key, code="journal_unavailable", message="the disk is full")
    assert subject.take_reply(pack_message(error)) == Answer(key, "w", error, 0.0)
    subject.postpone(key, 5.0)
    subject.queue_due(4.9)
    assert send_all(subject) == []
    subject.queue_due(5.0)
    assert send_all(subject) == [key]


def test_no_time_that_passes_makes_a_request_twice() -> None:
    subject = table()
    ask(subject, keep=True)
    send_all(subject)
    subject.queue_due(1e9)
    assert send_all(subject) == []


def test_an_answer_shows_that_those_to_earlier_requests_are_lost() -> None:
    """The relay answers one connection in order."""
    subject = table()
    kept, plain = ask(subject, "kept", keep=True), ask(subject, "plain")
    answered, later = ask(subject, "answered"), ask(subject, "later", keep=True)
    send_all(subject)
    assert subject.lose_before(answered) == ["plain"]
    subject.drop(answered)
    assert list(subject.waiters) == ["kept", "later"]
    assert send_all(subject) == [kept], f"{plain} is for its owner to ask again, {later} waits"
    assert subject.lose_before(kept) == []
    assert send_all(subject) == [later], "it was overtaken by one that was sent after it"


def test_with_the_connection_everything_is_lost_and_what_is_kept_is_sent_again_in_order() -> None:
    subject = table()
    first, refused = ask(subject, keep=True), ask(subject, keep=True)
    ask(subject, "sent")
    send_all(subject)
    subject.postpone(refused, 100.0)
    ask(subject, "unsent")
    assert sorted(subject.lose_all()) == ["sent", "unsent"]
    assert send_all(subject) == [first, refused]


def test_a_full_table_refuses_by_name() -> None:
    subject = table()
    for _ in range(MAX_REQUESTS):
        ask(subject)
    with pytest.raises(TooManyRequests, match="4 requests"):
        ask(subject)


@pytest.mark.parametrize("frame", [b"", b"\xc1", msgpack.packb({"id": "1"}), msgpack.packb(7)])
def test_a_frame_that_is_no_reply_is_refused(frame: bytes) -> None:
    with pytest.raises(InvalidFrame):
        table().take_reply(frame)


class Table(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.subject = table()
        self.unsent: list[int] = []
        self.sent: list[int] = []
        self.postponed: dict[int, float] = {}
        self.kept: set[int] = set()
        self.now = 0.0

    @property
    def size(self) -> int:
        return len(self.unsent) + len(self.sent) + len(self.postponed)

    @rule(keep=st.booleans())
    def add(self, keep: bool) -> None:
        if self.size == MAX_REQUESTS:
            with pytest.raises(TooManyRequests):
                ask(self.subject, keep=keep)
            return
        key = self.subject.add(lambda key: StatsRequest(id=key), "", keep=keep)
        self.unsent.append(key)
        if keep:
            self.kept.add(key)

    @precondition(lambda self: self.unsent)
    @rule()
    def send(self) -> None:
        self.subject.was_sent(self.now)
        self.sent.append(self.unsent.pop(0))

    @precondition(lambda self: self.size)
    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from([*self.unsent, *self.sent, *self.postponed]))
        self.subject.drop(key)
        self.forget(key)

    @precondition(lambda self: self.sent)
    @rule(data=st.data(), is_refused=st.booleans())
    def answer(self, data: st.DataObject, is_refused: bool) -> None:
        key = data.draw(st.sampled_from(self.sent))
        assert self.subject.take_reply(reply(key)) is not None
        lost = self.sent[: self.sent.index(key)]
        assert len(self.subject.lose_before(key)) == len(set(lost) - self.kept)
        self.lose(lost)
        if is_refused:
            self.subject.postpone(key, self.now + 2.0)
            self.sent.remove(key)
            self.postponed[key] = self.now + 2.0
        else:
            self.subject.drop(key)
            self.forget(key)

    @rule()
    def time_passes(self) -> None:
        self.now += 1.0
        self.subject.queue_due(self.now)
        due = [key for key, at in sorted(self.postponed.items()) if self.now >= at]
        for key in due:
            del self.postponed[key]
        self.unsent += due

    @rule()
    def lose_connection(self) -> None:
        before = self.size
        lost = self.subject.lose_all()
        refused = [key for key in sorted(self.postponed) if key in self.kept]
        unsent = [key for key in self.unsent if key in self.kept]
        sent = [key for key in self.sent if key in self.kept]
        self.unsent, self.sent, self.postponed = sent + unsent + refused, [], {}
        assert len(lost) == before - self.size

    def lose(self, lost: list[int]) -> None:
        self.sent = [key for key in self.sent if key not in lost]
        self.unsent = [key for key in lost if key in self.kept] + self.unsent

    def forget(self, key: int) -> None:
        self.unsent = [each for each in self.unsent if each != key]
        self.sent = [each for each in self.sent if each != key]
        self.postponed.pop(key, None)

    @invariant()
    def the_next_request_is_the_model_s(self) -> None:
        request = self.subject.next_unsent()
        assert ([] if request is None else [request.id]) == self.unsent[:1]
        assert len(self.subject) == self.size


Table.TestCase.settings = settings(max_examples=200, stateful_step_count=30, deadline=None)
TestTable = Table.TestCase
