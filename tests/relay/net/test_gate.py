"""Each peer gets the rights of its key, its user or its address, or does not get in."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
import zmq

from relay.core.counters import RelayCounters
from relay.core.permission import UNLIMITED, PeerList, Rights
from relay.net.gate import Gate
from relay.net.newcomers import Newcomers
from relay.net.peer import Peer
from relay.net.port import Port
from relay.shared.curve_keys import ClientKeys, KeyPair, new_key_pair
from relay.shared.transport import Socket, connect, open_socket
from relay.wire.peers import ListedPeer, PeerRole
from relay.zmtp.errors import ZmtpError
from tests.relay.ports import BOUNDS, PORT_BOUNDS, ROOM, OpenPort
from tests.support.curve_client import command, command_data, socket_type

RELAY = new_key_pair()
EDGE = new_key_pair()
EMITTER = new_key_pair()
NULL_GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"NULL".ljust(20, b"\0") + bytes(32)
KEYED = PeerList.of(
    [
        ListedPeer("edge-1", PeerRole.EDGE, EDGE.public, publish=("*",)),
        ListedPeer("manager-1", PeerRole.EMITTER, EMITTER.public, publish=("event:*",)),
    ],
    RELAY.public,
)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def gate(peers: PeerList, secret_key: bytes = b"", kind: bytes = b"XPUB") -> Gate:
    """A gate like that of the egress: for those who may subscribe."""
    return Gate(kind, BOUNDS, peers, lambda rights: rights.may_subscribe, secret_key)


def over_unix(stack: ExitStack) -> socket.socket:
    """Return the relay's end of a connection from this process."""
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    stack.enter_context(closing(theirs))
    return stack.enter_context(closing(ours))


def over_tcp(stack: ExitStack, host: str, listening: str) -> socket.socket:
    """Return the relay's end of a connection to `host` of this machine."""
    family = socket.AF_INET6 if ":" in listening else socket.AF_INET
    with socket.create_server(
        (listening, 0), family=family, dualstack_ipv6=listening == "::"
    ) as server:
        port = server.getsockname()[1]
        stack.enter_context(closing(socket.create_connection((host, port))))
        return stack.enter_context(closing(server.accept()[0]))


def say_hello(peer: Peer, kind: bytes = b"SUB") -> None:
    """Take the handshake of a peer without encryption."""
    assert peer.connection.take_output()[12:32].rstrip(b"\0") == b"NULL"
    peer.connection.receive(NULL_GREETING + command(b"READY", socket_type(kind)))
    peer.connection.read(1)


def refusal(peer: Peer) -> ZmtpError:
    with pytest.raises(ZmtpError) as refused:
        say_hello(peer)
    assert peer.rights is None
    assert not peer.connection.is_open
    told = command_data(refused.value.farewell, b"ERROR")
    assert told[1:].decode() == str(refused.value)
    return refused.value


def listed(**identity: int | bool) -> PeerList:
    return PeerList.of([ListedPeer("edge-1", PeerRole.EDGE, **identity)])  # type: ignore[arg-type]


def test_without_a_list_everybody_may_do_everything(stack: ExitStack) -> None:
    for accepted in (over_unix(stack), over_tcp(stack, "127.0.0.1", "127.0.0.1")):
        peer = gate(PeerList.of([])).welcome(accepted)
        say_hello(peer)
        assert peer.connection.is_open
        assert peer.rights is UNLIMITED


def test_the_kernel_tells_who_has_connected_to_a_unix_socket(stack: ExitStack) -> None:
    for peers in (listed(uid=os.getuid()), listed(gid=os.getgid())):
        peer = gate(peers).welcome(over_unix(stack))
        say_hello(peer)
        assert peer.rights is not None
        assert peer.rights.name == "edge-1"


@pytest.mark.parametrize("identity", [{"uid": 4_000_000}, {"gid": 4_000_000}, {"loopback": True}])
def test_another_user_does_not_get_in(stack: ExitStack, identity: dict[str, int]) -> None:
    refused = refusal(gate(listed(**identity)).welcome(over_unix(stack)))
    assert refused.reason == "not_admitted"
    assert str(refused) == f"user {os.getuid()} may not connect to this socket"


def test_a_listed_user_gets_into_no_socket_that_its_role_does_not_need(stack: ExitStack) -> None:
    peers = PeerList.of([ListedPeer("manager-1", PeerRole.EMITTER, uid=os.getuid())])
    assert refusal(gate(peers).welcome(over_unix(stack))).reason == "not_admitted"


def test_a_unix_socket_needs_no_key_even_if_the_relay_has_one(stack: ExitStack) -> None:
    peer = gate(listed(uid=os.getuid()), RELAY.secret).welcome(over_unix(stack))
    say_hello(peer)
    assert peer.connection.is_open


@pytest.mark.parametrize(
    ("host", "listening"), [("127.0.0.1", "127.0.0.1"), ("127.0.0.1", "::"), ("::1", "::1")]
)
def test_peers_of_this_machine_may_be_listed_together(
    stack: ExitStack, host: str, listening: str
) -> None:
    peer = gate(listed(loopback=True)).welcome(over_tcp(stack, host, listening))
    say_hello(peer)
    assert peer.rights is not None
    assert peer.rights.name == "edge-1"


@pytest.mark.parametrize("listening", ["0.0.0.0", "::"])
def test_peers_of_other_machines_do_not_get_the_rights_of_loopback(
    stack: ExitStack, listening: str
) -> None:
    accepted = over_tcp(stack, address_in_a_network(), listening)
    refused = refusal(gate(listed(loopback=True)).welcome(accepted))
    assert str(refused) == "peers without a key may not connect to this socket"


def address_in_a_network() -> str:
    """Return an address of this machine other than loopback; nothing is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        try:
            any_socket.connect(("203.0.113.1", 9))
        except OSError:
            pytest.skip("this machine is in no network")
        return str(any_socket.getsockname()[0])


def test_over_tcp_a_relay_with_a_key_speaks_to_nobody_without(stack: ExitStack) -> None:
    accepted = over_tcp(stack, "127.0.0.1", "127.0.0.1")
    peer = gate(listed(loopback=True), RELAY.secret).welcome(accepted)
    assert peer.connection.take_output()[12:32].rstrip(b"\0") == b"CURVE"
    with pytest.raises(ZmtpError) as refused:
        peer.connection.receive(NULL_GREETING)
    assert refused.value.reason == "wrong_mechanism"
    assert peer.rights is None


class KeyedPort:
    """A port at which libzmq meets the gate, over TCP."""

    def __init__(self, stack: ExitStack, kind: bytes) -> None:
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        listening.setblocking(False)
        counters = RelayCounters()
        self.open = OpenPort(
            Port(
                "ingress",
                listening,
                gate(KEYED, RELAY.secret, kind),
                Newcomers(ROOM, counters),
                PORT_BOUNDS,
                counters,
            ),
            f"tcp://127.0.0.1:{listening.getsockname()[1]}",
            counters,
        )
        stack.enter_context(closing(self.open.port))
        self._context: zmq.Context[Socket] = zmq.Context()
        stack.callback(self._context.destroy, linger=0)
        self._sockets: list[Socket] = []
        """Unused ones would be closed at once."""

    def socket(self, kind: int, keys: ClientKeys) -> Socket:
        opened = open_socket(self._context, kind)
        self._sockets.append(opened)
        connect(opened, self.open.endpoint, keys)
        return opened

    def wait_until_cut(self, reason: str) -> None:
        for _ in range(1000):
            self.open.turn()
            if self.open.counters.as_dict()["peers_cut"].get("ingress", {}).get(reason):
                assert not tuple(self.open.port.peers()), "nobody got in"
                return
        raise AssertionError(f"nobody was cut off as {reason}")


def keys(own: KeyPair, relay: bytes = RELAY.public) -> ClientKeys:
    return ClientKeys(own, relay)


def test_libzmq_talks_to_the_relay_with_a_listed_key(stack: ExitStack) -> None:
    port = KeyedPort(stack, b"ROUTER")
    dealer = port.socket(zmq.DEALER, keys(EDGE))
    peer = port.open.wait_for_peer()
    while not dealer.poll(0, zmq.POLLOUT):
        port.open.turn()
    dealer.send_multipart([b"", b"x" * 100_000, b"end"])
    while not port.open.received:
        port.open.turn()
    assert port.open.received == [(peer, [b"", b"x" * 100_000, b"end"])]
    assert peer.rights is not None
    assert peer.rights.name == "edge-1"
    port.open.port.send(peer, b"\1\1a\2" + (70_000).to_bytes(8, "big") + b"y" * 70_000)
    while not dealer.poll(0):
        port.open.turn()
    assert dealer.recv_multipart() == [b"a", b"y" * 70_000]


def test_libzmq_subscribes_with_a_listed_key(stack: ExitStack) -> None:
    port = KeyedPort(stack, b"XPUB")
    subscriber = port.socket(zmq.XSUB, keys(EDGE))
    peer = port.open.wait_for_peer()
    subscriber.send(b"\1event:")
    while not port.open.received:
        subscriber.poll(0)  # libzmq notices in our thread that it is connected
        port.open.turn()
    assert port.open.received == [(peer, [b"\1event:"])]


@pytest.mark.parametrize(
    ("own", "reason"),
    [
        (keys(new_key_pair()), "not_admitted"),
        (keys(EMITTER), "not_admitted"),
        (keys(EDGE, EDGE.public), "invalid_handshake"),
    ],
    ids=["not listed", "not for this socket", "key of another relay"],
)
def test_libzmq_without_the_right_keys_does_not_get_in(
    stack: ExitStack, own: ClientKeys, reason: str
) -> None:
    port = KeyedPort(stack, b"XPUB")
    port.socket(zmq.SUB, own)
    port.wait_until_cut(reason)


def test_the_relay_itself_may_look_with_its_own_key(stack: ExitStack) -> None:
    port = KeyedPort(stack, b"ROUTER")
    port.socket(zmq.DEALER, keys(RELAY))
    rights: Rights | None = port.open.wait_for_peer().rights
    assert rights is not None
    assert (rights.name, rights.role) == ("relay", PeerRole.TOOL)


def test_a_relay_without_a_key_needs_no_package_for_it() -> None:
    code = (
        "import sys; sys.modules['nacl'] = None; import relay.__main__, relay.server;"
        "print('relay.server' in sys.modules)"
    )
    root = Path(__file__).parents[3]
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False
    )
    assert (ended.stdout, ended.stderr) == ("True\n", "")


def test_a_list_that_says_something_else_of_a_peer_is_noticed(stack: ExitStack) -> None:
    uid = os.getuid()
    peers = listed(uid=uid)
    door = gate(peers)
    peer = door.welcome(over_unix(stack))
    say_hello(peer)
    assert not door.has_changed(peer)
    peers.become(listed(uid=uid))
    assert not door.has_changed(peer), "the same rights in another list"
    peers.become(PeerList.of([ListedPeer("edge-1", PeerRole.EDGE, uid=uid, publish=("event:*",))]))
    assert door.has_changed(peer)
    peers.become(PeerList.of([ListedPeer("edge-1", PeerRole.EMITTER, uid=uid)]))
    assert door.has_changed(peer), "it may no longer use this socket"
    peers.become(listed(uid=uid + 1))
    assert door.has_changed(peer)
    refused = door.welcome(over_unix(stack))
    assert not door.has_changed(refused)
    peers.become(listed(uid=uid))
    assert door.has_changed(refused)


def test_of_a_peer_whose_key_is_not_known_yet_nothing_has_changed(stack: ExitStack) -> None:
    peers = PeerList.of([ListedPeer("edge-1", PeerRole.EDGE, EDGE.public)])
    door = gate(peers, RELAY.secret)
    peer = door.welcome(over_tcp(stack, "127.0.0.1", "127.0.0.1"))
    peers.become(PeerList.of([ListedPeer("edge-2", PeerRole.EDGE, EMITTER.public)]))
    assert not door.has_changed(peer)


def test_connections_are_counted_by_user_or_address(stack: ExitStack) -> None:
    door = gate(PeerList.of(()))
    assert door.welcome(over_unix(stack)).party == os.getuid()
    assert door.welcome(over_tcp(stack, "127.0.0.1", "127.0.0.1")).party == "127.0.0.1"
    keyed = gate(KEYED, RELAY.secret).welcome(over_tcp(stack, "127.0.0.1", "127.0.0.1"))
    assert keyed.party is None, "its key is not known yet"
