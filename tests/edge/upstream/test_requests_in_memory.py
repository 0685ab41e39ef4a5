"""Requests to the relay without sockets and without a clock: each is sent at once, or when due."""

import asyncio
from collections.abc import Callable, Iterator

import pytest

from edge.core.control.answer_size import FIRST_BYTES
from edge.core.control.control_health import REPLAY_TIMEOUT_S
from edge.core.streams.inbound import Repair
from edge.upstream import requests as module
from edge.upstream.requests import RETRY_S, RelayRequests
from edge.upstream.socket import RelaySocket
from relay.wire.control import (
    ErrorReply,
    HelloRequest,
    ReplayRequest,
    Reply,
    Request,
    RetainedReply,
    RetainedRequest,
    pack_message,
    unpack_request,
)
from relay.wire.topics import parse_pattern
from tests.edge.relay_words import EPOCH, frames, heartbeat, replay
from tests.edge.upstream.scripted_relay import hello_reply
from tests.edge.world import EdgeCore

A, B = parse_pattern("live:a"), parse_pattern("live:b")
REPAIR = Repair("event", 10)


class Loop(asyncio.SelectorEventLoop):
    """Its time is what the test says."""

    now = 100.0

    def time(self) -> float:
        """Seconds."""
        return self.now


class Wire(RelaySocket):
    """A socket that keeps what it is sent, and brings the replies that the test gives it."""

    def __init__(self) -> None:
        self.endpoint = "memory"
        self.is_connected = True
        self.sent: list[Request] = []
        self.replies: list[bytes] = []

    def send(self, frame: bytes) -> bool:
        """Keep it."""
        if self.is_connected:
            self.sent.append(unpack_request(frame))
        return self.is_connected

    def messages(self, max_count: int, max_bytes: int) -> Iterator[list[bytes]]:
        """Yield the replies, each once."""
        while self.replies:
            yield [self.replies.pop(0)]


class Desk:
    """The requests of an edge whose stream `event` lacks the events after 10."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.wire = Wire()
        self.core = EdgeCore()
        self.core.inbound.synchronize(EPOCH, heartbeat(10))
        self.core.inbound.take_heartbeat(heartbeat(12))
        self.requests = RelayRequests(loop, self.wire, "edge-1")

    def take(self) -> list[Request]:
        """Return and forget what was sent."""
        taken, self.wire.sent = self.wire.sent, []
        return taken

    def answer(self, *replies: Reply | bytes) -> list[Request]:
        """Bring replies in one reading; return what is sent then."""
        for reply in replies:
            self.wire.replies.append(reply if isinstance(reply, bytes) else pack_message(reply))
        assert self.requests.read_replies(self.core.inbound)
        return self.take()

    def tick(self, seconds: float) -> list[Request]:
        """Let time pass; return what is sent then, without hellos."""
        self.loop.now += seconds
        self.requests.tick(self.core.inbound)
        return [each for each in self.take() if not isinstance(each, HelloRequest)]

    def repair(self) -> ReplayRequest:
        """Request a repair; return what was sent."""
        assert self.requests.request_repair(REPAIR) is True
        [request] = self.take()
        assert isinstance(request, ReplayRequest)
        return request


@pytest.fixture
def desk() -> Iterator[Desk]:
    loop = Loop()
    yield Desk(loop)
    loop.close()


def refusal(request: Request) -> ErrorReply:
    return ErrorReply(id=request.id, code="journal_unavailable", message="a full disk")


def empty(request: Request) -> Reply:
    """A replay that brings nothing."""
    return replay(tip=12).model_copy(update={"id": request.id})


def prefixes(sent: list[Request]) -> list[str]:
    return [each.prefix for each in sent if isinstance(each, RetainedRequest)]


def test_a_request_is_sent_at_once(desk: Desk) -> None:
    assert desk.repair().after == 10
    fetching = desk.loop.create_task(desk.requests.replay("event", 3, 5))
    desk.loop.call_soon(desk.loop.stop)
    desk.loop.run_forever()
    [fetch] = desk.take()
    assert isinstance(fetch, ReplayRequest)
    assert (fetch.stream, fetch.after, fetch.limit) == ("event", 3, 5)
    desk.requests.request_last_values(A)
    assert prefixes(desk.take()) == ["live:a"]
    fetching.cancel()
    desk.loop.run_until_complete(asyncio.wait([fetching]))


def test_pages_are_requested_one_after_the_other_also_when_one_is_refused(desk: Desk) -> None:
    for selector in (A, B):
        desk.requests.request_last_values(selector)
    [first] = desk.take()
    assert len(desk.requests) == 2
    [second] = desk.answer(refusal(first))
    assert prefixes([first, second]) == ["live:a", "live:b"]
    [third] = desk.answer(RetainedReply(id=second.id, items=(), next=b"live:b"))
    assert isinstance(third, RetainedRequest)
    assert (third.prefix, third.after) == ("live:b", b"live:b")
    assert len(desk.requests) == 1


def test_requests_wait_for_the_socket(desk: Desk) -> None:
    desk.wire.is_connected = False
    assert desk.requests.request_repair(REPAIR)
    desk.requests.request_last_values(A)
    assert desk.take() == []
    desk.wire.is_connected = True
    sent = desk.tick(0.0)
    assert [type(each) for each in sent] == [ReplayRequest, RetainedRequest]


def test_a_relay_that_knows_nothing_is_asked_for_a_page_at_once(desk: Desk) -> None:
    desk.requests.request_last_values(A)
    desk.take()
    desk.requests.lose_all(desk.core.inbound)
    assert prefixes(desk.take()) == ["live:a"]


def test_hellos_that_are_not_answered_take_the_room_of_one(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_REQUESTS", 2)
    desk = Desk(desk.loop)
    for _ in range(10):
        desk.requests.say_hello()
    assert len(desk.take()) == 10
    assert desk.repair().stream == "event"
    assert desk.requests.request_repair(REPAIR) is False


def test_any_answer_shows_that_the_relay_is_there(desk: Desk) -> None:
    desk.requests.say_hello()
    [hello] = desk.take()
    answering = [desk.requests.health.is_answering]
    desk.answer(hello_reply(hello.id))
    assert [*answering, desk.requests.health.is_answering] == [False, True]


def test_only_a_replay_that_brings_something_shows_that_the_relay_replays(desk: Desk) -> None:
    desk.core.inbound.repairs_due()
    request = desk.repair()
    replaying = []
    for _ in range(int(REPLAY_TIMEOUT_S) + 2):
        desk.answer(empty(request))
        assert desk.tick(RETRY_S) == [request]
    replaying.append(desk.requests.health.is_replaying)
    items = frames("event:a", 11), frames("event:a", 12)
    desk.answer(replay(*items, tip=12).model_copy(update={"id": request.id}))
    replaying.append(desk.requests.health.is_replaying)
    assert replaying == [False, True]
    assert len(desk.requests) == 0


@pytest.mark.parametrize("reply", [refusal, empty])
def test_a_repair_without_success_is_repeated_after_a_second(
    desk: Desk, reply: Callable[[Request], Reply]
) -> None:
    desk.core.inbound.repairs_due()
    request = desk.repair()
    assert desk.answer(reply(request)) == []
    assert desk.tick(RETRY_S - 0.25) == []
    assert desk.tick(0.25) == [request]


def test_a_reply_that_is_not_understood_hides_no_other(desk: Desk) -> None:
    desk.requests.request_last_values(A)
    [page] = desk.take()
    desk.answer(b"\xc1", RetainedReply(id=page.id, items=()))
    assert len(desk.requests) == 0


def test_how_much_is_requested_follows_from_how_fast_each_answer_came(desk: Desk) -> None:
    """An answer that waited behind another one counts from that one on."""
    first, second, third = (desk.repair() for _ in range(3))
    assert first.max_bytes == FIRST_BYTES
    desk.loop.now += 0.1
    desk.answer(empty(first))
    assert desk.repair().max_bytes == 2 * FIRST_BYTES
    desk.loop.now += 10.0
    desk.answer(empty(second))
    small = desk.repair().max_bytes or 0
    assert 0 < small < FIRST_BYTES
    desk.loop.now += 0.1
    desk.answer(empty(third))
    assert desk.repair().max_bytes == 2 * small


def test_retained_values_cost_the_budget_of_the_user_who_asks(desk: Desk) -> None:
    """A user whose budget is overdrawn waits, and nobody else."""
    poor, costs = {"mallory"}, list[tuple[str, int, int]]()
    desk.requests.charge(lambda user: user not in poor, lambda *cost: costs.append(cost))
    desk.requests.request_last_values(A, "mallory")
    desk.requests.request_last_values(B, "carol")
    [page] = desk.take()
    assert prefixes([page]) == ["live:b"]
    value = (b"live:b", b"stamp", b"envelope")
    assert desk.answer(RetainedReply(id=page.id, items=(value, value))) == []
    assert costs == [("carol", 2, 2 * len(b"".join(value)))]
    poor.clear()
    assert prefixes(desk.tick(0.1)) == ["live:a"]
