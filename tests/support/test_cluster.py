"""A test can listen on the ports it gets, and no other process gets them."""

import socket

import pytest

from tests.support.cluster import free_ports


def test_a_server_can_listen_on_a_free_port_and_nobody_else_can_bind_it() -> None:
    [port] = free_ports(1)
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", port))
    for _ in range(2):
        with socket.create_server(("127.0.0.1", port)):
            pass


def test_free_ports_are_different() -> None:
    assert len(set(free_ports(20) + free_ports(20))) == 40
