"""CURVE against a client written by hand: the right handshake, and each way to do it wrong."""

from collections.abc import Callable

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from relay.shared.curve_keys import KeyPair, new_key_pair
from relay.zmtp.connection import ZmtpConnection
from relay.zmtp.curve_mechanism import CurveMechanism
from relay.zmtp.errors import ZmtpError
from relay.zmtp.frames import pack_command, pack_message
from relay.zmtp.reader import Bounds
from tests.support.curve_client import (
    COMMAND,
    GREETING,
    MORE,
    CurveClient,
    command,
    command_data,
    frame,
    named,
    socket_type,
    split_frames,
)

RELAY = new_key_pair()
CLIENT = new_key_pair()
OTHER = new_key_pair()
BOUNDS = Bounds(kept_bytes=2_000, frame_bytes=10_000, frames=4)
IGNORED_BIT = (105, 7)
"""The highest bit of the client's key, which X25519 does not look at (RFC 7748, section 5)."""
Spoil = Callable[[CurveClient], None]


class Server:
    """The relay's end of one connection, and the keys that it was asked about."""

    def __init__(self, admitted: bytes = CLIENT.public, kind: bytes = b"ROUTER") -> None:
        self.asked: list[bytes] = []
        self._admitted = admitted
        self.connection = ZmtpConnection(CurveMechanism(kind, RELAY.secret, self._admits), BOUNDS)
        self.connection.receive(GREETING)
        greeting = self.connection.take_output()
        assert greeting[12:33] == b"CURVE".ljust(20, b"\0") + b"\1", "as the server"

    def _admits(self, key: bytes) -> bool:
        self.asked.append(key)
        return key == self._admitted

    def take(self, data: bytes) -> list[list[bytes]]:
        """Return the messages in bytes of the client."""
        self.connection.receive(data)
        messages: list[list[bytes]] = []
        while True:
            messages += self.connection.read(100)
            if not self.connection.has_more:
                return messages

    def answer(self, name: bytes, data: bytes) -> bytes:
        """Return the answer to a command of the handshake."""
        assert self.take(command(name, data)) == []
        return self.connection.take_output()

    def refuse(self, data: bytes, reason: str) -> ZmtpError:
        """Take bytes that end the connection, which never was or stays what it was."""
        was_open = self.connection.is_open
        with pytest.raises(ZmtpError) as refused:
            self.take(data)
        assert refused.value.reason == reason
        assert str(refused.value).isprintable()
        assert self.connection.is_open is was_open
        assert self.connection.take_output() == b"", "no answer beside the farewell"
        return refused.value


def client(keys: KeyPair = CLIENT, kind: bytes = b"DEALER") -> CurveClient:
    return CurveClient(RELAY.public, keys, kind)


def welcomed(
    kind: bytes = b"ROUTER", peer: CurveClient | None = None
) -> tuple[Server, CurveClient]:
    """Return both ends before `INITIATE`."""
    server, peer = Server(kind=kind), peer or client()
    peer.take_welcome(command_data(server.answer(b"HELLO", peer.hello()), b"WELCOME"))
    return server, peer


def opened(kind: bytes = b"ROUTER", theirs: bytes = b"DEALER") -> tuple[Server, CurveClient]:
    """Return both ends of an open connection."""
    server, peer = welcomed(kind, client(kind=theirs))
    ready = server.answer(b"INITIATE", peer.initiate())
    assert peer.take_ready(command_data(ready, b"READY")) == socket_type(kind)
    assert server.connection.is_open
    return server, peer


def flipped(data: bytes, index: int, bit: int = 0) -> bytes:
    index %= len(data)
    return data[:index] + bytes((data[index] ^ 1 << bit,)) + data[index + 1 :]


def test_both_sides_prove_their_keys_before_anything_is_said() -> None:
    server, peer = welcomed()
    assert server.asked == []
    assert not server.connection.is_open
    server.answer(b"INITIATE", peer.initiate())
    assert server.asked == [CLIENT.public]
    assert server.connection.is_open


def test_the_whole_handshake_may_come_byte_by_byte() -> None:
    server, peer = Server(), client()
    for byte in command(b"HELLO", peer.hello()):
        server.take(bytes((byte,)))
    peer.take_welcome(command_data(server.connection.take_output(), b"WELCOME"))
    rest = command(b"INITIATE", peer.initiate()) + frame(peer.seal(b"x" * 300))
    found = [message for byte in rest for message in server.take(bytes((byte,)))]
    assert found == [[b"x" * 300]]


def test_each_connection_has_keys_and_a_cookie_of_its_own() -> None:
    """So that whoever learns a long-term key cannot read what was said before."""
    peers = [welcomed()[1] for _ in range(2)]
    assert peers[0].cookie != peers[1].cookie
    assert peers[0].server_short != peers[1].server_short
    assert RELAY.public not in (peers[0].server_short, peers[1].server_short)


@given(st.lists(st.lists(st.binary(max_size=400), min_size=1, max_size=4), max_size=4))
def test_messages_arrive_as_they_were_in_both_directions(messages: list[list[bytes]]) -> None:
    server, peer = opened()
    sent, expected = b"", []
    for frames in messages:
        for number, body in enumerate(frames, 1):
            sent += frame(peer.seal(body, MORE if number < len(frames) else 0))
            expected.append((MORE if number < len(frames) else 0, body))
    assert server.take(sent) == messages
    sealed = b"".join(server.connection.seal(pack_message(frames)) for frames in messages)
    frames_on_wire = split_frames(sealed)
    assert all(flags == 0 for flags, _ in frames_on_wire), "more is said inside"
    assert [peer.open(body) for _, body in frames_on_wire] == expected


def test_nothing_of_a_message_is_readable() -> None:
    server, _ = opened()
    sealed = server.connection.seal(pack_message([b"event:secret", b"the password"]))
    assert b"secret" not in sealed
    assert b"password" not in sealed


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda data: b"\1\1" + data[2:], "invalid_handshake"),
        (lambda data: b"\2\0" + data[2:], "invalid_handshake"),
        (lambda data: data[:-1], "invalid_handshake"),
        (lambda data: data + b"\0", "invalid_handshake"),
        (lambda _data: b"", "invalid_handshake"),
        (lambda data: data[:74] + OTHER.public + data[106:], "invalid_handshake"),
        (lambda data: data[:74] + bytes(32) + data[106:], "invalid_handshake"),
        (lambda data: data[:106] + bytes(8) + data[114:], "invalid_handshake"),
        (lambda data: data[:106] + b"\xff" * 8 + data[114:], "invalid_handshake"),
    ],
    ids=["minor", "major", "short", "long", "empty", "other key", "no key", "nonce 0", "nonce"],
)
def test_a_wrong_hello_is_refused(spoil: Callable[[bytes], bytes], reason: str) -> None:
    server = Server()
    server.refuse(command(b"HELLO", spoil(client().hello())), reason)
    assert server.asked == []


@given(st.integers(74, 193), st.integers(0, 7))
def test_no_bit_of_hello_may_change_on_the_way(index: int, bit: int) -> None:
    """Apart from version, of which there is another test, and padding, which means nothing."""
    assume((index, bit) != IGNORED_BIT)
    server = Server()
    with pytest.raises(ZmtpError):
        server.take(command(b"HELLO", flipped(client().hello(), index, bit)))
    assert server.connection.take_output() == b""


def test_hello_for_another_relay_is_refused_with_advice() -> None:
    server = Server()
    peer = CurveClient(OTHER.public, CLIENT)
    refused = server.refuse(command(b"HELLO", peer.hello()), "invalid_handshake")
    assert "does it have the relay's public key?" in str(refused)
    told = command_data(refused.farewell, b"ERROR")
    assert told[1:].decode() == str(refused)


@given(st.integers(0), st.integers(0, 7))
def test_no_bit_of_initiate_may_change_on_the_way(index: int, bit: int) -> None:
    server, peer = welcomed()
    with pytest.raises(ZmtpError):
        server.take(command(b"INITIATE", flipped(peer.initiate(), index, bit)))
    assert server.asked == []
    assert not server.connection.is_open


def cookie_of_another_connection(peer: CurveClient) -> None:
    peer.cookie = welcomed()[1].cookie


def short_cookie(peer: CurveClient) -> None:
    peer.cookie = peer.cookie[:-1]


def no_cookie(peer: CurveClient) -> None:
    peer.cookie = b""


def key_of_somebody_else(peer: CurveClient) -> None:
    """The public key of another, without its secret one."""
    peer.keys = KeyPair(OTHER.public, CLIENT.secret)


def no_key(peer: CurveClient) -> None:
    peer.keys = KeyPair(bytes(32), CLIENT.secret)


def vouch_of_somebody_else(peer: CurveClient) -> None:
    peer.vouching = OTHER.secret


def vouch_for_another_relay(peer: CurveClient) -> None:
    """An evil relay could otherwise pass on what its client says to it."""
    peer.vouched_server = OTHER.public


def vouch_for_another_connection(peer: CurveClient) -> None:
    peer.vouched_client = OTHER.public


def vouch_without_relay(peer: CurveClient) -> None:
    peer.vouched_server = b""


def cut_metadata(peer: CurveClient) -> None:
    peer.metadata = peer.metadata[:-1]


def no_metadata(peer: CurveClient) -> None:
    peer.metadata = b""


def wrong_socket(peer: CurveClient) -> None:
    peer.metadata = socket_type(b"\x1b[2J\n\xff")


def sub_socket(peer: CurveClient) -> None:
    peer.metadata = socket_type(b"SUB")


def nonce_again(peer: CurveClient) -> None:
    peer.nonce = 0


def nonce_zero(peer: CurveClient) -> None:
    peer.nonce = -1


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        *(
            (spoil, "invalid_handshake")
            for spoil in (
                cookie_of_another_connection,
                short_cookie,
                no_cookie,
                key_of_somebody_else,
                no_key,
                vouch_of_somebody_else,
                vouch_for_another_relay,
                vouch_for_another_connection,
                vouch_without_relay,
                cut_metadata,
            )
        ),
        *((spoil, "wrong_socket_type") for spoil in (no_metadata, wrong_socket, sub_socket)),
        *((spoil, "invalid_handshake") for spoil in (nonce_again, nonce_zero)),
    ],
)
def test_a_wrong_initiate_is_refused_before_its_key_is_looked_up(spoil: Spoil, reason: str) -> None:
    server, peer = welcomed()
    spoil(peer)
    server.refuse(command(b"INITIATE", peer.initiate()), reason)
    assert server.asked == []


@pytest.mark.parametrize("size", [0, 16, 31, 95])
def test_a_vouch_that_is_cut_short_is_refused(size: int) -> None:
    server, peer = welcomed()
    server.refuse(command(b"INITIATE", peer.initiate(peer.vouch()[:size])), "invalid_handshake")
    assert server.asked == []


@pytest.mark.parametrize("size", [*range(97), 100, 104, 105, 119, 120, 200])
def test_initiate_of_any_length_is_refused_if_it_is_not_whole(size: int) -> None:
    server, peer = welcomed()
    with pytest.raises(ZmtpError):
        server.take(command(b"INITIATE", peer.initiate()[:size]))
    assert not server.connection.is_open


def test_a_recorded_handshake_opens_no_second_connection() -> None:
    """Neither with the same `HELLO` nor with one of its own."""
    _, peer = welcomed()
    recorded = peer.initiate()
    for hello in (peer.hello(), client().hello()):
        server = Server()
        server.answer(b"HELLO", hello)
        server.refuse(command(b"INITIATE", recorded), "invalid_handshake")


def test_a_key_that_is_not_listed_is_told_so() -> None:
    server, peer = welcomed(peer=client(OTHER))
    refused = server.refuse(command(b"INITIATE", peer.initiate()), "not_admitted")
    assert server.asked == [OTHER.public]
    told = command_data(refused.farewell, b"ERROR")
    assert told == bytes((len(told) - 1,)) + b"its public key is not in the list of peers"


@pytest.mark.parametrize("name", [b"INITIATE", b"READY", b"MESSAGE", b"ERROR", b"hello", b""])
def test_hello_comes_first(name: bytes) -> None:
    Server().refuse(command(name, client().hello()), "invalid_handshake")


@pytest.mark.parametrize("name", [b"HELLO", b"READY", b"MESSAGE", b"ERROR", b"initiate", b""])
def test_initiate_comes_second(name: bytes) -> None:
    server, peer = welcomed()
    server.refuse(command(name, peer.initiate()), "invalid_handshake")


def test_initiate_without_hello_does_not_match_the_empty_cookie() -> None:
    peer = client()
    peer.server_short = RELAY.public
    Server().refuse(command(b"INITIATE", peer.initiate()), "invalid_handshake")


def test_no_message_comes_before_the_handshake_has_ended() -> None:
    server, peer = welcomed()
    server.refuse(frame(peer.seal(b"early")), "invalid_handshake")
    Server().refuse(frame(b"early"), "invalid_handshake")


@pytest.mark.parametrize("name", [b"HELLO", b"INITIATE"])
def test_a_second_handshake_is_refused(name: bytes) -> None:
    server, peer = opened()
    data = peer.hello() if name == b"HELLO" else peer.initiate()
    server.refuse(command(name, data), "invalid_frame")


@given(st.integers(0), st.integers(0, 7))
def test_no_bit_of_a_message_may_change_on_the_way(index: int, bit: int) -> None:
    server, peer = opened()
    server.refuse(frame(flipped(peer.seal(b"text"), index, bit)), "invalid_frame")


@pytest.mark.parametrize(
    "body",
    [b"", b"plain", named(b"MESSAGE"), named(b"MESSAGE", bytes(8)), named(b"MESSAGE", bytes(500))],
)
def test_a_frame_that_is_not_encrypted_is_refused(body: bytes) -> None:
    server, _ = opened()
    server.refuse(frame(body), "invalid_frame")


@pytest.mark.parametrize("size", range(8 + 8 + 16 + 1))
def test_a_frame_that_is_cut_short_is_refused(size: int) -> None:
    server, peer = opened()
    server.refuse(frame(peer.seal(b"")[:size]), "invalid_frame")


def test_a_box_without_flags_is_refused() -> None:
    server, peer = opened()
    nonce = peer.next_nonce()
    peer.nonce -= 1
    whole = peer.seal(b"")
    assert whole[8:16] == nonce
    server.refuse(frame(whole[:-1]), "invalid_frame")


def test_a_frame_that_comes_again_is_refused() -> None:
    server, peer = opened()
    sealed = frame(peer.seal(b"pay"))
    assert server.take(sealed) == [[b"pay"]]
    server.refuse(sealed, "invalid_frame")


def test_frames_come_in_their_order_though_numbers_may_be_left_out() -> None:
    server, peer = opened()
    early = frame(peer.seal(b"early"))
    peer.nonce = 2**64 - 2
    assert server.take(frame(peer.seal(b"late"))) == [[b"late"]]
    server.refuse(early, "invalid_frame")


def test_the_relays_own_frames_cannot_be_sent_back_to_it() -> None:
    server, peer = opened()
    peer.nonce = 0
    for _ in range(5):
        server.connection.seal(pack_message([b"x"]))
    server.refuse(server.connection.seal(pack_message([b"x"])), "invalid_frame")


def test_a_frame_of_another_connection_is_refused() -> None:
    (server, _), (_, other) = opened(), opened()
    server.refuse(frame(other.seal(b"x")), "invalid_frame")


def test_subscriptions_and_pings_are_encrypted_as_well() -> None:
    server, peer = opened(b"XPUB", b"SUB")
    sealed = [
        named(b"SUBSCRIBE", b"event:"),
        named(b"CANCEL", b"event:"),
        named(b"PING", b"\x00\x64context"),
        named(b"LATER", b"unknown"),
        b"",
    ]
    sent = b"".join(frame(peer.seal(each, COMMAND)) for each in sealed)
    assert server.take(sent + frame(peer.seal(b"\1task:"))) == [
        [b"\1event:"],
        [b"\0event:"],
        [b"\1task:"],
    ]
    [(flags, pong)] = split_frames(server.connection.take_output())
    assert flags == 0
    assert peer.open(pong) == (COMMAND, named(b"PONG", b"context"))


def test_the_longest_subscription_may_be_a_command() -> None:
    mechanism = CurveMechanism(b"XPUB", RELAY.secret, lambda _key: True)
    connection = ZmtpConnection(mechanism, Bounds(1025, 1025, 1))
    peer = client(kind=b"SUB")
    connection.receive(GREETING + command(b"HELLO", peer.hello()))
    connection.read(1)
    peer.take_welcome(command_data(connection.take_output()[64:], b"WELCOME"))
    prefix = b"p" * 1024
    sealed = peer.initiate(), peer.seal(named(b"SUBSCRIBE", prefix), COMMAND)
    connection.receive(command(b"INITIATE", sealed[0]) + frame(sealed[1]))
    assert connection.read(1) == [[b"\1" + prefix]]


def test_an_encrypted_error_ends_the_connection() -> None:
    server, peer = opened()
    server.refuse(frame(peer.seal(named(b"ERROR", b"\3bad"), COMMAND)), "ended_by_peer")


@pytest.mark.parametrize(
    "injected",
    [
        command(b"SUBSCRIBE", b"task:"),
        command(b"CANCEL", b"event:"),
        command(b"PING", b"\x00\x64"),
        command(b"ERROR", b"\3bad"),
        command(b"LATER"),
        command(b""),
    ],
)
def test_somebody_on_the_way_cannot_add_commands(injected: bytes) -> None:
    server, peer = opened(b"XPUB", b"SUB")
    assert server.take(frame(peer.seal(b"\1event:"))) == [[b"\1event:"]]
    server.refuse(injected, "invalid_frame")


def test_an_encrypted_command_in_a_frame_that_is_a_command_is_refused() -> None:
    server, peer = opened(b"XPUB", b"SUB")
    server.refuse(frame(peer.seal(named(b"SUBSCRIBE"), COMMAND), 4), "invalid_frame")


def test_a_message_has_a_bounded_number_of_frames() -> None:
    server, peer = opened()
    most = [frame(peer.seal(b"x", MORE)) for _ in range(BOUNDS.frames - 1)]
    assert server.take(b"".join(most) + frame(peer.seal(b"x"))) == [[b"x"] * BOUNDS.frames]
    many = b"".join(frame(peer.seal(b"", MORE)) for _ in range(BOUNDS.frames))
    server.refuse(many, "too_many_frames")


def test_a_frame_has_bounded_bytes() -> None:
    server, peer = opened()
    assert server.take(frame(peer.seal(bytes(BOUNDS.kept_bytes)))) == [[bytes(BOUNDS.kept_bytes)]]
    server.refuse(frame(peer.seal(bytes(BOUNDS.kept_bytes + 11)))[:9], "too_large")


def test_the_frames_of_an_incomplete_message_have_bounded_bytes() -> None:
    server, peer = opened()
    half = bytes(BOUNDS.kept_bytes // 2)
    assert server.take(frame(peer.seal(half, MORE)) + frame(peer.seal(half, MORE))) == []
    assert server.connection.waiting_bytes == BOUNDS.kept_bytes
    server.refuse(frame(peer.seal(b"x", MORE)), "too_large")


def test_frames_of_one_message_cannot_be_bound_together_outside() -> None:
    """Somebody on the way could join or split messages."""
    server, peer = opened()
    server.refuse(frame(peer.seal(b"x"), 1), "too_many_frames")


def test_what_is_said_to_the_peer_after_the_handshake_is_sealed_in_order() -> None:
    server, peer = opened()
    sealed = server.connection.seal(pack_command(b"PONG", b"a") + pack_message([b"b", b"c"]))
    assert [peer.open(body) for _, body in split_frames(sealed)] == [
        (COMMAND, named(b"PONG", b"a")),
        (MORE, b"b"),
        (0, b"c"),
    ]
