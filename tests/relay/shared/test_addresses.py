"""One table of addresses for everything that listens or connects."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.shared.addresses import (
    MAX_PATH_BYTES,
    ListenAddress,
    ZmqAddress,
    loopback,
    parse_listen_address,
    parse_peer_address,
    parse_zmq_address,
)

LONGEST = "/" + "p" * (MAX_PATH_BYTES - 1)

RIGHT = [
    ("tcp://127.0.0.1:5555", ZmqAddress("127.0.0.1", 5555)),
    ("tcp://0.0.0.0:1", ZmqAddress("0.0.0.0", 1)),
    ("tcp://[::1]:5555", ZmqAddress("::1", 5555)),
    ("tcp://[::]:65535", ZmqAddress("::", 65535)),
    ("tcp://[fe80::1%eth0]:5555", ZmqAddress("fe80::1%eth0", 5555)),
    ("tcp://localhost:5555", ZmqAddress("localhost", 5555)),
    ("tcp://relay_1.internal.:5555", ZmqAddress("relay_1.internal.", 5555)),
    ("tcp://eth0:5555", ZmqAddress("eth0", 5555)),
    ("ipc:///run/relay.sock", ZmqAddress(path="/run/relay.sock")),
    ("ipc:///run/my relay", ZmqAddress(path="/run/my relay")),
    ("ipc://relay.sock", ZmqAddress(path="relay.sock")),
    ("ipc://@relay", ZmqAddress(path="@relay")),
    (f"ipc://{LONGEST}", ZmqAddress(path=LONGEST)),
]
FORM = "must be tcp://HOST:PORT or ipc://PATH"
PORT = "a port from 1 to 65535"
BRACKETS = "an IPv6 address stands in brackets, such as tcp://[::1]:5555"
NEITHER = "is neither an IP address nor a host name"
SPACES = "a path has no control characters, and no spaces at its ends"
WRONG = [
    ("", FORM),
    ("5555", FORM),
    ("127.0.0.1:5555", FORM),
    ("TCP://127.0.0.1:5555", FORM),
    ("udp://127.0.0.1:5555", FORM),
    ("inproc://x", FORM),
    (" tcp://127.0.0.1:5555", FORM),
    ("tcp://", FORM),
    ("tcp://127.0.0.1", PORT),
    ("tcp://127.0.0.1:", PORT),
    ("tcp://:5555", PORT),
    ("tcp://127.0.0.1:0", PORT),
    ("tcp://127.0.0.1:*", PORT),
    ("tcp://127.0.0.1:65536", PORT),
    ("tcp://127.0.0.1:-1", PORT),
    ("tcp://127.0.0.1:+1", PORT),
    ("tcp://127.0.0.1:1_0", PORT),
    ("tcp://127.0.0.1:http", PORT),
    ("tcp://127.0.0.1:٥٥٥٥", PORT),
    ("tcp://127.0.0.1:5555/", PORT),
    ("tcp://127.0.0.1:5555 ", PORT),
    ("tcp://[::1]", PORT),
    ("tcp://::1:5555", BRACKETS),
    ("tcp://::1", BRACKETS),
    ("tcp://[127.0.0.1]:5555", "is not an IPv6 address"),
    ("tcp://[::x]:5555", "is not an IPv6 address"),
    ("tcp://[::1%]:5555", "is not an IPv6 address"),
    ("tcp://127.0.0.1%lo:5555", NEITHER),
    ("tcp://1.2.3:5555", NEITHER),
    ("tcp://127.0.0.256:5555", NEITHER),
    ("tcp://a b:5555", NEITHER),
    ("tcp:// localhost:5555", NEITHER),
    ("tcp://-:5555", NEITHER),
    ("tcp://eth0;127.0.0.1:5555", NEITHER),
    ("tcp://user@host:5555", NEITHER),
    ("tcp://bücher:5555", NEITHER),
    (f"tcp://{'n' * 256}:5555", NEITHER),
    ("ipc://", FORM),
    ("ipc://*", "whose path is not '*'"),
    ("ipc:///run/relay\n", SPACES),
    ("ipc:// /run/relay", SPACES),
    ("ipc:///run/\0", SPACES),
    (f"ipc://{LONGEST}p", "at most 107 bytes, and this one has 108"),
    (f"ipc:///{'ü' * 54}", "at most 107 bytes, and this one has 109"),
]
Parse = Callable[[str], ZmqAddress]
PARSERS: list[Parse] = [parse_zmq_address, parse_peer_address]


@pytest.mark.parametrize("parse", PARSERS)
@pytest.mark.parametrize(("text", "expected"), RIGHT)
def test_an_address_is_read_and_shown_as_it_was(
    parse: Parse, text: str, expected: ZmqAddress
) -> None:
    address = parse(text)
    assert address == expected
    assert str(address) == text


@pytest.mark.parametrize("parse", PARSERS)
@pytest.mark.parametrize(("text", "problem"), WRONG, ids=[text[:40] for text, _ in WRONG])
def test_a_wrong_address_is_refused_with_its_fault(parse: Parse, text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=r".+") as refused:
        parse(text)
    assert problem in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_every_interface_is_an_address_to_listen_on_only() -> None:
    assert parse_zmq_address("tcp://*:5555") == ZmqAddress("*", 5555)
    with pytest.raises(ValueError, match=r"to connect, use tcp://127\.0\.0\.1:5555 or the name"):
        parse_peer_address("tcp://*:5555")


@pytest.mark.parametrize(
    ("listening", "reached"),
    [
        ("tcp://*:1", "tcp://127.0.0.1:1"),
        ("tcp://0.0.0.0:1", "tcp://127.0.0.1:1"),
        ("tcp://[::]:1", "tcp://[::1]:1"),
        ("tcp://192.0.2.1:1", "tcp://192.0.2.1:1"),
        ("ipc://r", "ipc://r"),
    ],
)
def test_a_socket_of_every_interface_is_reached_at_the_loopback(
    listening: str, reached: str
) -> None:
    assert str(loopback(parse_zmq_address(listening))) == reached


@pytest.mark.parametrize(
    ("text", "expected", "url"),
    [
        ("127.0.0.1", ListenAddress("127.0.0.1"), "http://127.0.0.1:80"),
        ("0.0.0.0", ListenAddress("0.0.0.0"), "http://0.0.0.0:80"),
        ("::1", ListenAddress("::1"), "http://[::1]:80"),
        ("[::1]", ListenAddress("::1"), "http://[::1]:80"),
        ("::", ListenAddress("::"), "http://[::]:80"),
        ("fe80::1%eth0", ListenAddress("fe80::1%eth0"), "http://[fe80::1%eth0]:80"),
        ("localhost", ListenAddress("localhost"), "http://localhost:80"),
        ("unix:/run/edge.sock", ListenAddress(path="/run/edge.sock"), "unix:/run/edge.sock"),
        ("unix:edge.sock", ListenAddress(path="edge.sock"), "unix:edge.sock"),
    ],
)
def test_the_edge_listens_at_a_host_or_a_path(text: str, expected: ListenAddress, url: str) -> None:
    assert parse_listen_address(text) == expected
    assert parse_listen_address(text).url(80) == url


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "*",
        "127.0.0.1:8000",
        "::1]:8000",
        "[::1]:8000",
        "http://localhost",
        "local host",
        "unix:",
        "unix:@edge",
        "unix:/run/edge.sock ",
        f"unix:{LONGEST}p",
        "localhost/",
    ],
)
def test_the_edge_listens_nowhere_else(text: str) -> None:
    with pytest.raises(ValueError, match=r"^(must be an IP address|the path|a path)"):
        parse_listen_address(text)


@given(st.text(max_size=40) | st.text("tcpi://[]:.*%@0159afx-", max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    for parse in (parse_zmq_address, parse_peer_address):
        try:
            address = parse(text)
        except ValueError:
            continue
        assert parse(str(address)) == address
    try:
        listening = parse_listen_address(text)
    except ValueError:
        return
    assert listening.path or parse_listen_address(listening.host) == listening
