"""A relay whose every word the test says, on real sockets."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import zmq
import zmq.asyncio

from edge.config import EdgeSettings
from edge.upstream.connection import RelayConnection, connect
from relay.wire.control import (
    HEARTBEAT_TOPIC,
    SYNC_PREFIX,
    Heartbeat,
    HelloReply,
    HelloRequest,
    Reply,
    Request,
    pack_message,
    unpack_request,
)
from relay.wire.demand_messages import DemandReply, DemandRequest
from relay.wire.header import Stamp, pack_stamp
from tests.edge.relay_words import EPOCH

DEADLINE_S = 10.0
TICK_S = 0.002


def hello_reply(identifier: int) -> HelloReply:
    """The answer to an edge's hello."""
    return HelloReply(
        id=identifier, epoch=EPOCH, journaled_kinds=("event", "task"), tips={}, heartbeat_s=1.0
    )


class ScriptedRelay:
    """Binds the egress and the control socket."""

    def __init__(self) -> None:
        self._context = zmq.asyncio.Context()
        self._egress = self._context.socket(zmq.XPUB)
        self._control = self._context.socket(zmq.ROUTER)
        self.egress = self._bind(self._egress)
        self.control = self._bind(self._control)
        self.peer = b""
        """The peer whose request was read last."""
        self._answers_hellos = False
        self.subscriptions: list[bytes] = []
        """Present ones, in the order of their arrival."""
        self._answered: set[bytes] = set()
        """Handshakes, by their nonce."""

    def answer_hellos(self) -> None:
        """From now on, answer the hellos that are read."""
        self._answers_hellos = True

    async def request(self) -> Request:
        """Return the next request that is neither a hello nor a report of the demand."""
        while True:
            peer, frame = await self._control.recv_multipart()
            request = unpack_request(frame)
            if isinstance(request, DemandRequest):
                reply = DemandReply(id=request.id, version=request.version)
                await self._control.send_multipart([peer, pack_message(reply)])
                continue
            self.peer = peer
            if not isinstance(request, HelloRequest):
                return request
            if self._answers_hellos:
                await self.reply(hello_reply(request.id))

    async def report(self) -> DemandRequest:
        """Return the next report of the demand; `reply` answers it."""
        while True:
            peer, frame = await self._control.recv_multipart()
            request = unpack_request(frame)
            if isinstance(request, DemandRequest):
                self.peer = peer
                return request

    async def hello(self) -> HelloRequest:
        """Return the next hello."""
        while True:
            request = unpack_request((await self._control.recv_multipart())[-1])
            if isinstance(request, HelloRequest):
                return request

    async def reply(self, reply: Reply) -> None:
        """Answer the peer whose request was read last."""
        await self.reply_raw(pack_message(reply))

    async def reply_raw(self, frame: bytes) -> None:
        """Send that peer anything."""
        await self._control.send_multipart([self.peer, frame])

    async def subscribed(self, prefix: bytes) -> bytes:
        """Wait for a subscription that starts with `prefix` and is not answered; return it."""
        while True:
            for present in self.subscriptions:
                if present.startswith(prefix) and present not in self._answered:
                    return present
            [frame] = await self._egress.recv_multipart()
            if frame[0]:
                self.subscriptions.append(frame[1:])
            else:
                self.subscriptions.remove(frame[1:])

    async def answer_handshake(self, heartbeat: Heartbeat, epoch: int = EPOCH) -> None:
        """Wait for a handshake, and answer it."""
        nonce = await self.subscribed(SYNC_PREFIX)
        self._answered.add(nonce)
        await self.publish(nonce, pack_message(heartbeat), epoch)

    async def beat(self, heartbeat: Heartbeat, epoch: int = EPOCH) -> None:
        """Send a heartbeat."""
        await self.publish(HEARTBEAT_TOPIC, pack_message(heartbeat), epoch)

    async def publish(self, topic: bytes, body: bytes, epoch: int = EPOCH) -> None:
        """Send a message of the relay's own."""
        await self.send(topic, pack_stamp(Stamp(epoch, 0, 1)), body)

    async def send(self, *frames: bytes) -> None:
        """Send any message."""
        await self._egress.send_multipart(frames)

    def close(self) -> None:
        """End it."""
        self._context.destroy(linger=0)

    def _bind(self, socket: zmq.asyncio.Socket) -> str:
        # Beyond its high-water mark an XPUB drops messages of a test that sends many at once.
        socket.setsockopt(zmq.SNDHWM, 0)
        port = socket.bind_to_random_port("tcp://127.0.0.1")
        return f"tcp://127.0.0.1:{port}"


@asynccontextmanager
async def connected(**settings: object) -> AsyncIterator[tuple[ScriptedRelay, RelayConnection]]:
    """A scripted relay and a connection to it, with a deadline for the body."""
    relay = ScriptedRelay()
    values = {"relay_egress": relay.egress, "relay_control": relay.control} | settings
    connection = connect(EdgeSettings.model_validate(values), asyncio.get_running_loop())
    sending = asyncio.create_task(_send_unsent(connection))
    try:
        async with asyncio.timeout(DEADLINE_S):
            yield relay, connection
    finally:
        sending.cancel()
        connection.close()
        relay.close()


async def _send_unsent(connection: RelayConnection) -> None:
    """Do what the subscriber's tick does: the socket takes nothing before it is connected."""
    while True:
        connection.requests.send_unsent()
        connection.demand.send()
        await asyncio.sleep(TICK_S)


async def until(condition: Callable[[], object]) -> None:
    """Let the event loop work until `condition` is true; `connected` has the deadline."""
    while not condition():  # noqa: ASYNC110 - sockets set no event for a test
        await asyncio.sleep(TICK_S)
