"""`LyingRelay`: the sockets of a relay, whose words are right or wrong as it is told to."""

import itertools
import time
from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any

import msgpack
import zmq

from relay.shared.transport import Socket, open_socket
from relay.wire.calls import CallRequest, ResultNotice, pack_call_notice
from relay.wire.control import (
    HEARTBEAT_TOPIC,
    Heartbeat,
    HelloReply,
    HelloRequest,
    ReplayReply,
    ReplayRequest,
    Request,
    RetainedReply,
    RetainedRequest,
    pack_message,
    unpack_request,
)
from relay.wire.demand_messages import DemandReply, DemandRequest, WatchedReply, WatchedRequest
from relay.wire.envelope import Envelope, pack_envelope
from relay.wire.errors import WireError
from relay.wire.header import Stamp, StampedFrames, pack_stamp
from tests.fuzz.changes import changed_frames, changed_msgpack, changed_value
from tests.support.cluster import Cluster

KINDS = ("event", "task", "addressed", "room")
"""Without revocations: an edge believes its relay that the tokens of everybody are revoked."""
REPLAY_EVENTS = 20
"""Events in an honest answer to a replay, at most."""
LIES = 0.5
RESULT = {"ok": [1, "x"]}
Changes = Callable[[list[bytes]], list[bytes]]


class LyingRelay:
    """Binds the endpoints of `cluster`. Each honest time has an epoch of its own."""

    def __init__(self, cluster: Cluster) -> None:
        self._context: zmq.Context[Socket] = zmq.Context()
        self._ingress = open_socket(self._context, zmq.XSUB)
        self._egress = self._context.socket(zmq.XPUB)
        self._egress.setsockopt(zmq.SNDHWM, 0)
        self._egress.setsockopt(zmq.XPUB_VERBOSE, 1)
        self._control = self._context.socket(zmq.ROUTER)
        self._ingress.bind(cluster.ingress)
        self._egress.bind(cluster.egress)
        self._control.bind(cluster.control)
        for kind in (*KINDS, "edge-state", "chat"):
            self._ingress.send(b"\x01" + kind.encode() + b":")
        self.epoch = 1
        self.tips: dict[str, int] = {}
        self._started_at = int(time.time() * 1000)
        self._peers: deque[tuple[bytes, int]] = deque(maxlen=50)
        """The peers that have asked last, and the ids of their requests."""
        self.begin_anew()

    def close(self) -> None:
        """Be gone."""
        self._context.destroy(linger=0)

    def begin_anew(self) -> None:
        """Be another relay from now on, with an empty journal."""
        self.restart()
        self.epoch += 1
        self.tips = dict.fromkeys(KINDS, 0)

    def restart(self) -> None:
        """Be another process from now on."""
        self._started_at += 1

    # Events.

    def event(self, kind: str, topic: str, data: Any, *, username: str | None = None) -> None:
        """Publish the next event of a stream."""
        self.tips[kind] += 1
        self.send([*self.record(kind, topic, self.tips[kind], data, username)])

    def record(
        self, kind: str, topic: str, offset: int, data: Any, username: str | None = None
    ) -> StampedFrames:
        """Return topic, stamp and envelope of an event."""
        envelope = Envelope("event", data, username, "relay", 1, f"{topic}-{offset}")
        stamp = Stamp(self.epoch, offset, int(time.time() * 1000))
        return topic.encode(), pack_stamp(stamp), pack_envelope(envelope, kind)

    def heartbeat(self, topic: bytes = HEARTBEAT_TOPIC) -> list[bytes]:
        """Return the frames of a heartbeat."""
        body = Heartbeat(
            tips=self.tips,
            low=dict.fromkeys(self.tips, 1),
            started_at=self._started_at,
            journaling=True,
            heartbeat_s=0.5,
        )
        stamp = Stamp(self.epoch, 0, int(time.time() * 1000))
        return [topic, pack_stamp(stamp), pack_message(body)]

    def send(self, frames: list[bytes]) -> None:
        """Publish a message, whatever it is."""
        if frames:
            self._egress.send_multipart(frames)

    # Requests.

    def serve(self, chance: Random | None = None, wait_ms: int = 0) -> None:
        """Answer what has come; with `chance`, many answers are wrong, missing or doubled."""
        self._control.poll(wait_ms)
        while self._egress.poll(0):
            subscription = self._egress.recv()
            if subscription.startswith(b"\x01!sync:"):
                frames = self.heartbeat(subscription[1:])
                if chance is not None and chance.random() < LIES:
                    frames = changed_frames(chance, frames, frames)
                self.send(frames)
        while self._ingress.poll(0):
            self._ingress.recv_multipart()
        while self._control.poll(0):
            peer, *_, frame = self._control.recv_multipart()
            try:
                request = unpack_request(frame)
            except WireError as error:
                raise AssertionError(f"a request of the edge is wrong: {error}") from error
            self._peers.append((peer, request.id))
            for answer in self._answers(request, chance):
                self._send_answer(peer, answer, chance)

    def say_unasked(self, chance: Random, frame: bytes) -> None:
        """Send somebody a message of the control socket."""
        if self._peers:
            peer, number = chance.choice(self._peers)
            fields = msgpack.unpackb(frame)
            if chance.random() < 0.8 and "id" in fields:
                frame = msgpack.packb(fields | {"id": number + chance.choice((0, 0, 0, 1, -1))})
            self._send_answer(peer, frame, chance)

    def _send_answer(self, peer: bytes, answer: bytes, chance: Random | None) -> None:
        answers = [answer]
        if chance is not None and chance.random() < LIES:
            match chance.randrange(8):
                case 0:
                    answers = []
                case 1:
                    answers = [answer] * 3
                case _:
                    answers = [changed_msgpack(chance, answer, [answer])]
        for each in answers:
            self._control.send_multipart([peer, each])

    def _answers(self, request: Request, chance: Random | None) -> list[bytes]:
        """Return the right answer and its notices; with `chance`, a call has any result."""
        match request:
            case HelloRequest():
                return [pack_message(self._hello(request))]
            case ReplayRequest():
                return [pack_message(self._replay(request))]
            case RetainedRequest():
                items = (self.record("chat", "chat:1", 0, {"n": 1}),)
                return [pack_message(RetainedReply(id=request.id, items=items))]
            case DemandRequest():
                return [pack_message(DemandReply(id=request.id, version=request.version))]
            case WatchedRequest():
                version = WatchedReply(
                    id=request.id, epoch=1, after=0, version=1, snapshot=True, watch=b""
                )
                return [pack_message(version)]
            case CallRequest():
                success = msgpack.packb({"id": request.id, "status": "success"})
                value = RESULT if chance is None else changed_value(chance, RESULT)
                result = ResultNotice(request.id, msgpack.packb(value), None)
                return [success, pack_call_notice(result)]
        return [msgpack.packb({"id": request.id, "status": "success"})]

    def _hello(self, request: HelloRequest) -> HelloReply:
        is_emitter = request.role == "emitter"
        return HelloReply(
            id=request.id,
            epoch=self.epoch,
            journaled_kinds=KINDS,
            tips=self.tips,
            heartbeat_s=0.5,
            sequence=request.acknowledged or 0 if is_emitter else None,
            emitter_epoch=5 if is_emitter and request.emitter_epoch is None else None,
        )

    def _replay(self, request: ReplayRequest) -> ReplayReply:
        kind = request.stream
        tip = self.tips.get(kind, 0)
        offsets = itertools.islice(range(request.after + 1, tip + 1), REPLAY_EVENTS)
        items = tuple(self.record(kind, *_content(kind, each)) for each in offsets)
        return ReplayReply(id=request.id, epoch=self.epoch, items=items, low=1, tip=tip)


def _content(kind: str, offset: int) -> tuple[str, int, Any, str | None]:
    username = "fuzz-1" if kind in ("task", "addressed") else None
    topic = "addressed:event:x" if kind == "addressed" else f"{kind}:fuzz"
    return topic, offset, {"n": offset}, username
