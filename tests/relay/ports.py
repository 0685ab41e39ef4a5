"""A port with real connections, served in the thread of the test."""

import select
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

from relay.core.counters import RelayCounters
from relay.core.permission import PeerList
from relay.net.gate import Gate
from relay.net.listening import listening
from relay.net.newcomers import Newcomers
from relay.net.peer import Peer
from relay.net.port import Port
from relay.net.port_bounds import PortBounds
from relay.shared.descriptor_room import DescriptorRoom
from relay.zmtp.reader import Bounds
from tests.support.waiting import is_readable
from tests.support.zmtp_peer import GREETING, TIMEOUT_S, ZmtpPeer, ready

EVERYBODY = PeerList.of(())
MIB = 1024 * 1024
ROOM = DescriptorRoom(10**6, 1000, 100)
BOUNDS = Bounds(kept_bytes=MIB, frame_bytes=4 * MIB, frames=8)
PORT_BOUNDS = PortBounds(
    unread_bytes=MIB, total_unread_bytes=8 * MIB, total_incomplete_bytes=8 * MIB
)


class OpenPort:
    """A port, and what it has received."""

    def __init__(self, port: Port, endpoint: str, counters: RelayCounters) -> None:
        self.port = port
        self.endpoint = endpoint
        self.counters = counters
        self.received: list[tuple[Peer, list[bytes]]] = []

    def turn(self, wait_s: float = 0.02, share: int = 100) -> None:
        """Serve the port once, as the relay's loop does."""
        select.select([self.port], [], [], wait_s)
        now = time.monotonic()
        self.port.poll(now)
        for peer, messages in self.port.receive(share):
            self.received += [(peer, frames) for frames in messages]
        self.port.tick(now)
        self.port.flush()

    def connect(self, stack: ExitStack, socket_type: bytes | None = None) -> ZmtpPeer:
        """Return a peer written by hand; with `socket_type`, its handshake is over."""
        peer = stack.enter_context(ZmtpPeer(self.endpoint))
        if socket_type is not None:
            known = len(tuple(self.port.peers()))
            peer.send(GREETING + ready(socket_type))
            self.wait_for_peer(known + 1)
            self.turn(0)
            peer.read_greeting()
            assert peer.read_frame()[0] == 4, "the answer to READY"
        return peer

    def push(self, peer: ZmtpPeer, data: bytes) -> None:
        """Send all of `data`, and serve the port meanwhile and until it has read that."""
        peer.socket.setblocking(False)
        while data:
            try:
                data = data[peer.socket.send(data) :]
            except BlockingIOError:
                self.turn()
        peer.socket.settimeout(TIMEOUT_S)
        while is_readable(self.port.fileno()) or self.port.has_readable:
            self.turn(0)

    def wait_until(self, is_so: Callable[[], bool], what: str) -> None:
        """Serve the port until `is_so`."""
        deadline = time.monotonic() + 10
        while not is_so():
            assert time.monotonic() < deadline, f"not so: {what}"
            self.turn()

    def wait_for_peer(self, count: int = 1) -> Peer:
        """Serve the port until so many peers are connected; return the last one."""
        deadline = time.monotonic() + 10
        while len(tuple(self.port.peers())) < count:
            assert time.monotonic() < deadline, "no peer has connected"
            self.turn()
        return tuple(self.port.peers())[-1]


def open_port(
    stack: ExitStack,
    socket_type: bytes,
    bounds: Bounds = BOUNDS,
    port_bounds: PortBounds = PORT_BOUNDS,
    room: DescriptorRoom = ROOM,
    peers: PeerList = EVERYBODY,
    secret_key: bytes = b"",
) -> OpenPort:
    """Return a port that listens at a path of its own until the end of `stack`."""
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    endpoint = f"ipc://{directory}/socket"
    counters = RelayCounters()
    bound = stack.enter_context(listening(endpoint, "RELAY_INGRESS", room.backlog))
    port = Port(
        "ingress",
        bound,
        Gate(socket_type, bounds, peers, lambda _rights: True, secret_key),
        Newcomers(room, counters),
        port_bounds,
        counters,
    )
    stack.enter_context(closing(port))
    return OpenPort(port, endpoint, counters)
