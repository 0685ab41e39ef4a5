"""A connection from its first byte: greeting, handshake, messages and commands."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.zmtp.connection import MAX_COMMANDS_AT_ONCE, MAX_UNKNOWN_COMMANDS, ZmtpConnection
from relay.zmtp.errors import ZmtpError
from relay.zmtp.null_mechanism import NullMechanism
from relay.zmtp.reader import Bounds
from tests.support.zmtp_peer import GREETING, command, frame, message, ping, ready

BOUNDS = Bounds(kept_bytes=2_000, frame_bytes=10_000, frames=4)


def new() -> ZmtpConnection:
    return ZmtpConnection(NullMechanism(b"XPUB"), BOUNDS)


def opened() -> ZmtpConnection:
    connection = new()
    connection.receive(GREETING + ready(b"SUB"))
    assert connection.read(10) == []
    assert connection.is_open
    assert connection.take_output() == GREETING + ready(b"XPUB")
    return connection


def read_all(connection: ZmtpConnection, most: int = 100) -> list[list[bytes]]:
    found = connection.read(most)
    while connection.has_more:
        found += connection.read(most)
    return found


@given(st.integers(1, 3), st.randoms(use_true_random=False))
def test_the_same_comes_out_however_the_bytes_are_cut(most: int, chance: random.Random) -> None:
    data = (
        GREETING
        + ready(b"SUB")
        + message(b"\1event:")
        + ping(b"abc")
        + message(b"a", bytes(300), b"")
        + command(b"SUBSCRIBE", b"task:")
        + command(b"CANCEL", b"task:")
        + command(b"LATER", b"whatever")
        + message(b"end")
    )
    connection, found, output = new(), [], b""
    while data:
        size = chance.choice([1, 2, 10, 64, 70, 1000])
        connection.receive(data[:size])
        data = data[size:]
        found += read_all(connection, most)
        output += connection.take_output()
    assert found == [[b"\1event:"], [b"a", bytes(300), b""], [b"\1task:"], [b"\0task:"], [b"end"]]
    assert output == GREETING + ready(b"XPUB") + command(b"PONG", b"abc")


def test_nothing_is_a_message_before_the_handshake_ends() -> None:
    for early in (message(b"x"), frame(b"x", more=True), frame(bytes(9000), more=True)[:5000]):
        connection = new()
        connection.receive(GREETING + early)
        with pytest.raises(ZmtpError) as refused:
            connection.read(10)
        assert refused.value.reason == "invalid_handshake"


def test_a_second_handshake_changes_nothing() -> None:
    connection = opened()
    connection.receive(ready(b"DEALER") + message(b"x"))
    assert read_all(connection) == [[b"x"]]
    assert connection.take_output() == b""


@pytest.mark.parametrize("context", [b"", b"c" * 16, b"c" * 17, b"c" * 1000])
def test_a_pong_has_at_most_16_bytes_of_the_ping(context: bytes) -> None:
    connection = opened()
    connection.receive(ping(context))
    connection.read(1)
    assert connection.take_output() == command(b"PONG", context[:16])


@pytest.mark.parametrize("flood", [ping(), command(b""), b"\x04\x00", command(b"LATER", b"x")])
def test_a_flood_of_commands_is_read_in_parts(flood: bytes) -> None:
    """The other connections have their turn in between."""
    connection = opened()
    connection.receive(flood * 3 * MAX_COMMANDS_AT_ONCE + message(b"x"))
    for _ in range(3):
        assert connection.read(10) == []
        assert connection.has_more
        assert connection.take_output() in (b"", MAX_COMMANDS_AT_ONCE * command(b"PONG"))
    assert connection.read(10) == [[b"x"]]
    assert not connection.has_more


@pytest.mark.parametrize("unknown", [command(b""), b"\x04\x00", command(b"LATER", b"x")])
def test_a_flood_of_unknown_commands_ends_the_connection(unknown: bytes) -> None:
    connection = opened()
    connection.receive(unknown * MAX_UNKNOWN_COMMANDS + message(b"x") + ping())
    assert read_all(connection) == [[b"x"]]
    connection.receive(unknown + message(b"y"))
    with pytest.raises(ZmtpError) as refused:
        connection.read(10)
    assert refused.value.reason == "unknown_commands"


def test_no_more_messages_are_read_than_wanted() -> None:
    connection = opened()
    connection.receive(message(b"a") + command(b"SUBSCRIBE", b"b") + message(b"c"))
    for expected in (b"a", b"\1b", b"c"):
        assert connection.has_more
        assert connection.read(1) == [[expected]]
    assert not connection.has_more
    assert connection.waiting_bytes == 0


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (command(b"ERROR", b"\x03bad"), "ended_by_peer"),
        (frame(b"x", more=True) * 4, "too_many_frames"),
        (b"\x02" + (10_001).to_bytes(8, "big"), "too_large"),
        (b"\x05\x00", "invalid_frame"),
    ],
)
def test_a_fault_ends_the_connection(data: bytes, reason: str) -> None:
    connection = opened()
    connection.receive(data)
    with pytest.raises(ZmtpError) as ended:
        read_all(connection)
    assert ended.value.reason == reason


@given(st.binary(max_size=300), st.integers(1, 5))
def test_any_bytes_are_messages_or_a_fault(data: bytes, most: int) -> None:
    connection = opened()
    try:
        connection.receive(data)
        found = read_all(connection, most)
    except ZmtpError as error:
        fault: ZmtpError | None = error
        found = []
    else:
        fault = None
        assert connection.waiting_bytes <= len(data)
    assert str(fault).isprintable()
    assert sum(len(frame) for frames in found for frame in frames) <= len(data)
