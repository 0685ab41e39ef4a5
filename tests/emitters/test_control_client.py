"""Requests of any thread go out on one socket, and every one of them ends."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from emitters.control_client import MAX_REQUESTS, READ_BATCH, ControlClient
from emitters.errors import EmitterClosed, RelayRefused, RelayUnavailable
from relay.shared.transport import Socket, open_socket
from relay.wire.control import (
    ErrorReply,
    Reply,
    Request,
    RetainedReply,
    RetainedRequest,
    pack_message,
    unpack_request,
)
from relay.wire.notices import Acknowledged, pack_notice

EPOCH = 5
TIMEOUT_MS = 10_000


class Line:
    """A client's socket and the relay's, connected."""

    def __init__(self, path: Path) -> None:
        self._context: zmq.Context[Socket] = zmq.Context()
        self.endpoint = f"ipc://{path}/control"
        self.router = self._context.socket(zmq.ROUTER)
        self.dealer = open_socket(self._context, zmq.DEALER)
        self.client = ControlClient()
        self._peer = b""

    def connect(self) -> None:
        """Let the client's socket take requests."""
        self.router.bind(self.endpoint)
        self.dealer.connect(self.endpoint)
        assert self.dealer.poll(TIMEOUT_MS, zmq.POLLOUT)

    def receive_request(self) -> Request:
        """Return the next request, as the relay gets it."""
        assert self.router.poll(TIMEOUT_MS), "no request"
        self._peer, frame = self.router.recv_multipart()
        return unpack_request(frame)

    def send(self, *frames: bytes) -> None:
        """Send messages to the client, and wait until it can read them."""
        for frame in frames:
            self.router.send_multipart([self._peer, frame])
        assert self.dealer.poll(TIMEOUT_MS)

    def reply(self, reply: Reply) -> None:
        """Answer a request."""
        self.send(pack_message(reply))

    def close(self) -> None:
        """Close both sockets."""
        self._context.destroy(linger=0)


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    line = Line(tmp_path)
    yield line
    line.close()


def retained(key: int) -> Request:
    return RetainedRequest(id=key, prefix="live:")


def test_a_reply_resolves_the_request_with_its_id(line: Line) -> None:
    line.connect()
    first, second = line.client.ask(retained), line.client.ask(retained)
    assert line.client.send(line.dealer)
    requests = [line.receive_request() for _ in range(2)]
    for request in reversed(requests):
        line.reply(RetainedReply(id=request.id, items=()))
        assert line.client.receive(line.dealer) == []
    replies = [pending.result() for pending in (first, second)]
    assert [reply and reply.id for reply in replies] == [request.id for request in requests]


def test_a_refusal_is_raised(line: Line) -> None:
    line.connect()
    pending = line.client.ask(retained)
    line.client.send(line.dealer)
    request = line.receive_request()
    line.reply(ErrorReply(id=request.id, code="bad_request", message="prefix: too long"))
    line.client.receive(line.dealer)
    with pytest.raises(RelayRefused, match="prefix: too long") as refused:
        pending.result()
    assert refused.value.code == "bad_request"


def test_requests_wait_for_a_relay_and_cancelled_ones_are_not_sent(line: Line) -> None:
    cancelled, kept = line.client.ask(retained), line.client.ask(retained)
    assert not line.client.send(line.dealer), "no relay takes them"
    cancelled.cancel()
    line.connect()
    assert line.client.send(line.dealer)
    request = line.receive_request()
    line.reply(RetainedReply(id=request.id, items=()))
    line.client.receive(line.dealer)
    reply = kept.result()
    assert reply is not None
    assert reply.id == request.id
    assert not cancelled.is_done


def test_a_reply_that_comes_too_late_is_ignored(line: Line) -> None:
    line.connect()
    late = line.client.ask(retained)
    line.client.send(line.dealer)
    late.cancel()
    line.reply(RetainedReply(id=line.receive_request().id, items=()))
    assert line.client.receive(line.dealer) == []


def test_unanswered_requests_are_bounded_and_the_link_has_room_of_its_own(line: Line) -> None:
    pending = [line.client.ask(retained) for _ in range(MAX_REQUESTS)]
    refused = line.client.ask(retained)
    line.client.send(line.dealer)
    with pytest.raises(RelayUnavailable, match=f"{MAX_REQUESTS} requests"):
        refused.result()
    own = line.client.ask(retained, max_requests=MAX_REQUESTS + 1)
    pending[0].cancel()
    del pending[1:2]
    others = [line.client.ask(retained) for _ in range(2)]
    line.client.send(line.dealer)
    assert not own.is_done
    assert [each.is_done for each in others] == [False, True], "the link's own takes a place too"


def test_requests_that_are_given_up_leave_nothing_behind(line: Line) -> None:
    """As hellos are, one a second, for as long as the relay is away; or by an interrupted wait,
    which has no time to cancel."""
    asked = line.client.ask(retained)
    for _ in range(MAX_REQUESTS):
        cancelled, forgotten = line.client.ask(retained), line.client.ask(retained)
        line.client.send(line.dealer)
        cancelled.cancel()
        del forgotten
        line.client.send(line.dealer)
    assert len(line.client._table) == len(line.client._ids) == 1
    assert len(line.client._table._unsent) == 1
    assert not asked.is_done


def test_closing_fails_requests_that_are_unsent_unanswered_or_new(line: Line) -> None:
    line.connect()
    unanswered = line.client.ask(retained)
    line.client.send(line.dealer)
    unsent = line.client.ask(retained)
    failed: list[BaseException] = []

    def wait() -> None:
        try:
            unanswered.result(TIMEOUT_MS / 1000)
        except EmitterClosed as error:
            failed.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    line.client.close()
    thread.join()
    assert len(failed) == 1
    for pending in (unsent, line.client.ask(retained)):
        with pytest.raises(EmitterClosed):
            pending.result()


def test_notices_come_back_in_order_and_malformed_messages_are_left_out(
    line: Line, caplog: pytest.LogCaptureFixture
) -> None:
    line.connect()
    _pending = line.client.ask(retained)
    line.client.send(line.dealer)
    line.receive_request()
    notices = [Acknowledged(EPOCH, number) for number in (1, 2)]
    frames = [pack_notice(notice) for notice in notices]
    line.send(frames[0], b"\xff\xff", pack_message(RetainedReply(id=999, items=())), frames[1])
    received = line.client.receive(line.dealer)
    while len(received) < 2 and line.dealer.poll(TIMEOUT_MS):
        received += line.client.receive(line.dealer)
    assert received == notices
    assert "malformed" in caplog.text


def test_a_flood_of_notices_is_read_in_batches(line: Line) -> None:
    line.connect()
    _pending = line.client.ask(retained)
    line.client.send(line.dealer)
    line.receive_request()
    line.router.setsockopt(zmq.SNDHWM, 0)
    frame = pack_notice(Acknowledged(EPOCH, 1))
    line.send(*[frame] * (READ_BATCH // 2))
    received = 0
    while received < READ_BATCH // 2 and line.dealer.poll(TIMEOUT_MS):
        notices = line.client.receive(line.dealer)
        assert len(notices) <= READ_BATCH
        received += len(notices)
    assert received == READ_BATCH // 2
