"""An emitter's sockets without an emitter: sends any message, valid or not."""

from collections.abc import Iterable
from itertools import count
from types import TracebackType
from typing import Any, Self

import zmq

from relay.shared.transport import Socket, open_socket
from relay.wire.control import (
    AccountRequest,
    HelloReply,
    HelloRequest,
    Reply,
    Request,
    pack_message,
    unpack_reply,
)
from relay.wire.envelope import Envelope, pack_envelope
from relay.wire.header import Header, pack_header
from relay.wire.notices import Acknowledged, Notice, Resend, unpack_notice
from relay.wire.topics import TASK, decode_topic
from tests.support.waiting import wait_for

ANSWER_TIMEOUT_MS = 20_000
STREAM_PREFIXES = {b"event:", b"task:", b"addressed:"}


class RawEmitter:
    """The sockets of one emitter; the test chooses sequence numbers (protocol sections 4 and 5)."""

    def __init__(self, ingress: str, control: str, *, name: str = "raw", epoch: int = 5) -> None:
        self._ingress_endpoint, self._control_endpoint = ingress, control
        self.name = name
        self.epoch = epoch
        self.emitter_id = name.encode().ljust(16, b".")
        self.notices: list[Notice] = []
        """The notices of this connection, in the order of arrival."""
        self.proofs: dict[int, bytes] = {}
        """The relay's proofs, by the acknowledged number."""
        self._ids = count(1)
        self._open()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _open(self) -> None:
        self._context: zmq.Context[Socket] = zmq.Context()
        self._control = open_socket(self._context, zmq.DEALER)
        self._control.connect(self._control_endpoint)
        self._events = open_socket(self._context, zmq.XPUB)
        self._events.setsockopt(zmq.SNDHWM, 0)
        self._events.connect(self._ingress_endpoint)

    def close(self) -> None:
        """Cut the connections, as if the process had ended."""
        self._context.destroy(linger=0)

    def reconnect(self) -> None:
        """Open new connections, as after a restart of the relay."""
        self.close()
        self.notices.clear()
        self._open()

    def ask(self, request: Request) -> Reply:
        """Return the relay's reply; keep the notices that arrive before it."""
        # Before the connection is made, the socket has no peer and cannot send.
        assert self._control.poll(ANSWER_TIMEOUT_MS, zmq.POLLOUT), "the relay is not reached"
        self._control.send(pack_message(request))
        while self._control.poll(ANSWER_TIMEOUT_MS):
            frame = self._control.recv()
            notice = unpack_notice(frame)
            if notice is None:
                return unpack_reply(frame, type(request))
            assert isinstance(notice, Acknowledged | Resend), "it never asks for the demand"
            self._keep(notice)
        raise AssertionError(f"no reply to {request!r}")

    def hello(self, acknowledged: int = 0, relay_epoch: int | None = None) -> Reply:
        """Say hello, with the relay's proof if it has given one; return the answer."""
        reply = self.ask(
            HelloRequest(
                id=next(self._ids),
                role="emitter",
                name=self.name,
                emitter_id=self.emitter_id,
                emitter_epoch=self.epoch,
                acknowledged=acknowledged,
                proof=self.proofs.get(acknowledged),
                epoch=relay_epoch,
            )
        )
        if isinstance(reply, HelloReply) and reply.proof is not None:
            assert reply.sequence is not None
            self.proofs[reply.sequence] = reply.proof
        return reply

    def admitted(self, acknowledged: int = 0) -> int:
        """Say hello and wait until the path is open; return the `sequence` of the reply."""
        reply = self.hello(acknowledged)
        assert isinstance(reply, HelloReply), reply
        assert reply.sequence is not None
        self.wait_subscribed()
        return reply.sequence

    def wait_subscribed(self) -> None:
        """Wait until the relay has subscribed to the streams."""
        missing = set(STREAM_PREFIXES)
        while missing:
            assert self._events.poll(ANSWER_TIMEOUT_MS), f"no subscription to {missing}"
            missing.discard(self._events.recv()[1:])

    def account(self, **counters: int) -> Reply:
        """Report counters."""
        return self.ask(
            AccountRequest(
                id=next(self._ids),
                emitter_id=self.emitter_id,
                emitter_epoch=self.epoch,
                counters=counters,
            )
        )

    def send(
        self,
        sequences: Iterable[int],
        topic: str = "event:x",
        *,
        username: str | None = None,
        padding: int = 0,
        **data: Any,
    ) -> None:
        """Send an event for each of `sequences`, with the number in its data.

        A task is for alice, and any other event for everybody, unless `username` says another.
        """
        kind = decode_topic(topic.encode()).kind
        if kind == TASK and username is None:
            username = "alice"
        for sequence in sequences:
            content = {"n": sequence, "padding": "x" * padding} | data
            envelope = Envelope("any", content, username, self.name, 1, f"id-{sequence}")
            self.send_frames(topic.encode(), sequence, pack_envelope(envelope, kind))

    def send_frames(self, topic: bytes, sequence: int, envelope: bytes) -> None:
        """Send an event whose topic and envelope may be any bytes."""
        header = pack_header(Header(self.emitter_id, self.epoch, sequence))
        self._events.send_multipart([topic, header, envelope])

    def _keep(self, notice: Notice) -> None:
        self.notices.append(notice)
        if isinstance(notice, Acknowledged) and notice.proof is not None:
            self.proofs[notice.sequence] = notice.proof

    def read_notices(self) -> list[Notice]:
        """Return all notices so far."""
        while self._control.poll(0):
            notice = unpack_notice(self._control.recv())
            assert notice is not None, "a reply that nobody asked for"
            assert isinstance(notice, Acknowledged | Resend), "it never asks for the demand"
            self._keep(notice)
        return self.notices

    @property
    def acknowledged(self) -> int:
        """The highest acknowledged sequence number of this connection."""
        told = [each.sequence for each in self.read_notices() if isinstance(each, Acknowledged)]
        return max(told, default=0)

    def wait_acknowledged(self, sequence: int) -> None:
        """Wait until the relay has acknowledged all events up to `sequence`."""
        wait_for(lambda: self.acknowledged >= sequence, f"{sequence} is acknowledged")
