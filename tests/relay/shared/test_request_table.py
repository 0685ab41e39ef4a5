"""`RequestTable` against a model: each request is unsent, unanswered, or gone."""

import msgpack
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from relay.shared.request_table import RequestTable, TooManyRequests
from relay.wire.control import ErrorReply, StatsReply, StatsRequest, pack_message
from relay.wire.errors import InvalidFrame

MAX_REQUESTS = 4
TIMEOUT_S = 10.0


def table() -> RequestTable[str]:
    return RequestTable(MAX_REQUESTS, TIMEOUT_S)


def ask(subject: RequestTable[str], waiter: str = "w", *, keep: bool = False) -> int:
    return subject.add(lambda key: StatsRequest(id=key), waiter, keep=keep)


def send_all(subject: RequestTable[str], now: float) -> list[int]:
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
    assert send_all(subject, 0.0) == [first, second]
    assert subject.take_reply(reply(second)) == (second, "second", StatsReply(id=second, stats={}))
    subject.drop(second)
    assert subject.take_reply(reply(second)) is None
    assert list(subject.waiters) == ["first"]


def test_an_error_leaves_a_kept_request_to_be_sent_again_in_its_time() -> None:
    subject = table()
    key = ask(subject, keep=True)
    send_all(subject, 0.0)
    error = ErrorReply(id=key, code="journal_unavailable", message="the disk is full")
    assert subject.take_reply(pack_message(error)) == (key, "w", error)
    subject.check_unanswered(TIMEOUT_S - 1)
    assert send_all(subject, TIMEOUT_S - 1) == []
    subject.check_unanswered(TIMEOUT_S)
    assert send_all(subject, TIMEOUT_S) == [key]


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
        self.sent: dict[int, float] = {}
        self.kept: set[int] = set()
        self.now = 0.0

    @property
    def size(self) -> int:
        return len(self.unsent) + len(self.sent)

    @rule(keep=st.booleans())
    def add(self, keep: bool) -> None:
        if self.size == MAX_REQUESTS:
            with pytest.raises(TooManyRequests):
                ask(self.subject, keep=keep)
            return
        key = ask(self.subject, keep=keep)
        self.unsent.append(key)
        if keep:
            self.kept.add(key)

    @precondition(lambda self: self.unsent)
    @rule()
    def send(self) -> None:
        self.subject.was_sent(self.now)
        self.sent[self.unsent.pop(0)] = self.now

    @precondition(lambda self: self.size)
    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from([*self.unsent, *self.sent]))
        self.subject.drop(key)
        self.sent.pop(key, None)
        self.unsent = [each for each in self.unsent if each != key]

    @rule(seconds=st.sampled_from([1.0, TIMEOUT_S]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.subject.check_unanswered(self.now)
        due = [key for key, at in self.sent.items() if self.now - at >= TIMEOUT_S]
        self._requeue(due)

    @rule()
    def restart(self) -> None:
        self.subject.relay_restarted()
        order = sorted([*self.unsent, *(key for key in self.sent if key in self.kept)])
        self.sent.clear()
        self.unsent = order

    def _requeue(self, due: list[int]) -> None:
        for key in sorted(due):
            del self.sent[key]
            if key in self.kept:
                self.unsent.append(key)

    @invariant()
    def the_next_request_is_the_model_s(self) -> None:
        request = self.subject.next_unsent()
        assert ([] if request is None else [request.id]) == self.unsent[:1]
        assert len(self.subject) == self.size


Table.TestCase.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
TestTable = Table.TestCase
