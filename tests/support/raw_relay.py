"""A relay's sockets without a relay: sends an emitter whatever it is told to, right or wrong."""

from pathlib import Path
from typing import Self

import zmq

from relay.shared.transport import Socket, open_socket
from relay.wire.control import (
    AccountReply,
    AccountRequest,
    HelloReply,
    HelloRequest,
    Reply,
    Request,
    pack_message,
    unpack_request,
)
from relay.wire.header import Header, unpack_header
from relay.wire.notices import Acknowledged, Notice, pack_notice

TIMEOUT_MS = 10_000
KINDS = ("event", "task")
EMITTER_EPOCH = 5
"""Handed out to an emitter that has none."""


class RawRelay:
    """The two sockets that one emitter talks to (protocol sections 4 and 5)."""

    def __init__(self, directory: Path) -> None:
        self.ingress = f"ipc://{directory}/ingress"
        self.control = f"ipc://{directory}/control"
        self.accounts: list[dict[str, int]] = []
        """The counters that were reported, in order."""
        self._emitter = b""
        self._open()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> None:
        self._context: zmq.Context[Socket] = zmq.Context()
        self._events = open_socket(self._context, zmq.XSUB)
        self._events.bind(self.ingress)
        self._requests = self._context.socket(zmq.ROUTER)
        self._requests.bind(self.control)

    def close(self) -> None:
        """Cut the connections."""
        self._context.destroy(linger=0)

    def restart(self) -> None:
        """Come back without any subscription, as a killed relay does."""
        self.close()
        self._open()

    # The data socket.

    def subscribe(self, *prefixes: str) -> None:
        """Subscribe to topics that start so."""
        for prefix in prefixes:
            self._events.send(b"\x01" + prefix.encode())

    def unsubscribe(self, *prefixes: str) -> None:
        """Take subscriptions back."""
        for prefix in prefixes:
            self._events.send(b"\x00" + prefix.encode())

    def read_event(self) -> tuple[str, Header, bytes]:
        """Return topic, header and envelope of the next event."""
        assert self._events.poll(TIMEOUT_MS), "no event"
        topic, header, envelope = self._events.recv_multipart()
        return topic.decode(), unpack_header(header), envelope

    def read_sequences(self, count: int) -> list[int]:
        """Return the sequence numbers of the next `count` events."""
        return [self.read_event()[1].sequence for _ in range(count)]

    def has_event(self, timeout_ms: int = 0) -> bool:
        """Whether an event has arrived."""
        return bool(self._events.poll(timeout_ms))

    # The control socket.

    def read_hello(self) -> HelloRequest:
        """Return the next hello; reports before it are answered."""
        request = self.read_request()
        assert isinstance(request, HelloRequest), request
        return request

    def has_request(self, timeout_ms: int = 0) -> bool:
        """Whether a request has arrived."""
        return bool(self._requests.poll(timeout_ms))

    def read_request(self) -> Request:
        """Return the next request that is not a report; reports are answered."""
        while True:
            assert self._requests.poll(TIMEOUT_MS), "no request"
            self._emitter, frame = self._requests.recv_multipart()
            request = unpack_request(frame)
            if not isinstance(request, AccountRequest):
                return request
            self.accounts.append(request.counters)
            self.send(AccountReply(id=request.id))

    def answer_report(self) -> dict[str, int]:
        """Answer the next report, and return its counters."""
        known = len(self.accounts)
        while len(self.accounts) == known:
            assert self._requests.poll(TIMEOUT_MS), "no report"
            self._emitter, frame = self._requests.recv_multipart()
            request = unpack_request(frame)
            if isinstance(request, AccountRequest):
                self.accounts.append(request.counters)
                self.send(AccountReply(id=request.id))
        return self.accounts[-1]

    def accept(
        self, hello: HelloRequest, sequence: int = 0, kinds: tuple[str, ...] = KINDS
    ) -> None:
        """Accept a hello: the journal has the events up to `sequence`."""
        self.send(
            HelloReply(
                id=hello.id,
                epoch=1,
                journaled_kinds=kinds,
                tips=dict.fromkeys(kinds, 0),
                heartbeat_s=1.0,
                sequence=sequence,
                emitter_epoch=EMITTER_EPOCH if hello.emitter_epoch is None else None,
            )
        )

    def admit(self, sequence: int = 0) -> HelloRequest:
        """Accept the next hello and subscribe to the journaled kinds; return the hello."""
        hello = self.read_hello()
        self.accept(hello, sequence)
        self.subscribe(*(f"{kind}:" for kind in KINDS))
        return hello

    def acknowledge(self, hello: HelloRequest, sequence: int) -> None:
        """Tell the emitter that the journal has the events up to `sequence`."""
        self.notify(Acknowledged(hello.emitter_epoch or EMITTER_EPOCH, sequence))

    def send(self, reply: Reply) -> None:
        """Send a reply to the emitter that asked last."""
        self._requests.send_multipart([self._emitter, pack_message(reply)])

    def notify(self, notice: Notice) -> None:
        """Send a notice to the emitter that asked last."""
        self.notify_raw(pack_notice(notice))

    def notify_raw(self, frame: bytes) -> None:
        """Send that emitter any frame."""
        self._requests.send_multipart([self._emitter, frame])
