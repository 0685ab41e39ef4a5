"""The proxy between the parts of other tests."""

import contextlib
import socket
from collections.abc import Iterator

import pytest

from tests.support.tcp_proxy import TcpProxy
from tests.support.waiting import wait_for

TIMEOUT_S = 10.0


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def test_a_connection_with_missing_bytes_passes_nothing_more(server: socket.socket) -> None:
    """Otherwise its client would see a hole, which TCP never shows."""
    with contextlib.ExitStack() as stack:
        proxy = stack.enter_context(TcpProxy(server.getsockname()[1]))
        address = ("127.0.0.1", int(proxy.endpoint.rpartition(":")[2]))
        client = stack.enter_context(socket.create_connection(address, TIMEOUT_S))
        peer = stack.enter_context(server.accept()[0])
        peer.sendall(b"1")
        assert client.recv(10) == b"1"
        proxy.is_black_hole = True
        peer.sendall(b"2")
        wait_for(lambda: proxy.swallowed_bytes == 1, "a byte is missing")
        proxy.is_black_hole = False
        peer.sendall(b"3")
        wait_for(lambda: proxy.swallowed_bytes == 2, "so is the next one")
        proxy.cut()
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(10) == b""
