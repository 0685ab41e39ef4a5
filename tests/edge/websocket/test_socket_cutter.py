"""`SocketCutter`: which connections it finds, and that it cuts no other."""

import asyncio
import os
import socket
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from typing import Any

import pytest

from edge.websocket.socket_cutter import Ends, SocketCutter, ends_of

DEADLINE_S = 20


class Connections:
    """TCP connections inside this process, with our end and the client's."""

    def __init__(self, stack: ExitStack, host: str) -> None:
        self._stack = stack
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = stack.enter_context(socket.create_server((host, 0), family=family))

    def open(self) -> tuple[Ends, socket.socket, socket.socket]:
        """The addresses of a new connection, our end, and the client's."""
        theirs = self._stack.enter_context(
            socket.create_connection(self._listener.getsockname()[:2], DEADLINE_S)
        )
        ours, _ = self._listener.accept()
        self._stack.enter_context(ours)
        return (ours.getsockname()[:2], ours.getpeername()[:2]), ours, theirs


def play(
    scenario: Callable[[SocketCutter, Connections], Coroutine[Any, Any, None]],
    host: str = "127.0.0.1",
) -> None:
    async def on_stage() -> None:
        cutter = SocketCutter(asyncio.get_running_loop(), patience_s=0.05)
        with ExitStack() as stack:
            async with asyncio.timeout(DEADLINE_S):
                await scenario(cutter, Connections(stack, host))
        cutter.close()

    asyncio.run(on_stage())


async def is_ended(theirs: socket.socket) -> bool:
    return await asyncio.to_thread(theirs.recv, 1) == b""


def is_open(ours: socket.socket, theirs: socket.socket) -> bool:
    theirs.sendall(b"x")
    ours.sendall(b"y")
    return (ours.recv(1), theirs.recv(1)) == (b"x", b"y")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_connection_with_these_addresses_is_cut_and_no_other(host: str) -> None:
    async def scenario(cutter: SocketCutter, connections: Connections) -> None:
        others = [connections.open() for _ in range(3)]
        ends, _, theirs = connections.open()
        cutter.cut(ends)
        assert await is_ended(theirs)
        assert all(is_open(ours, client) for _, ours, client in others)

    play(scenario, host)


def test_a_connection_that_stays_is_cut_late() -> None:
    async def scenario(cutter: SocketCutter, connections: Connections) -> None:
        ends, ours, theirs = connections.open()
        cutter.cut_late(ends)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert is_open(ours, theirs)
        assert await is_ended(theirs)

    play(scenario)


def test_a_later_connection_with_the_same_descriptor_is_left_alone() -> None:
    async def scenario(cutter: SocketCutter, connections: Connections) -> None:
        ends, ours, _ = connections.open()
        cutter.cut_late(ends)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        descriptor = ours.fileno()
        _, next_ours, next_theirs = connections.open()
        ours.close()
        with socket.socket(fileno=socket.dup(next_ours.fileno())) as reused:
            assert reused.fileno() == descriptor
            marker, _, marker_theirs = connections.open()
            cutter.cut_late(marker)
            assert await is_ended(marker_theirs), "the deadline of both has passed"
            assert is_open(reused, next_theirs)

    play(scenario)


def test_the_descriptors_are_looked_at_once_for_many_connections(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However they come and go."""
    looks: list[str] = []
    listdir = os.listdir

    def look(path: str) -> list[str]:
        looks.append(path)
        return listdir(path)

    monkeypatch.setattr(os, "listdir", look)

    async def scenario(cutter: SocketCutter, connections: Connections) -> None:
        first, _, first_theirs = connections.open()
        cutter.cut(first)
        assert await is_ended(first_theirs)
        assert len(looks) == 1
        for _ in range(20):
            ends, _, theirs = connections.open()
            cutter.cut(ends)
            await asyncio.sleep(0)
        assert await is_ended(theirs)
        assert len(looks) == 2

    play(scenario)


def test_an_unknown_connection_and_closed_descriptors_are_no_error() -> None:
    async def scenario(cutter: SocketCutter, connections: Connections) -> None:
        ends, ours, theirs = connections.open()
        cutter.cut_late(ends)
        cutter.cut((("127.0.0.1", 1), ("127.0.0.1", 2)))
        ours.close()
        assert await is_ended(theirs)
        marker, _, marker_theirs = connections.open()
        cutter.cut_late(marker)
        assert await is_ended(marker_theirs)

    play(scenario)


@pytest.mark.parametrize(
    ("scope", "ends"),
    [
        (
            {"server": ("127.0.0.1", 80), "client": ("10.0.0.1", 999), "http_version": "1.1"},
            (("127.0.0.1", 80), ("10.0.0.1", 999)),
        ),
        (
            {"server": ("::1", "80"), "client": ("::2", "999")},
            (("::1", 80), ("::2", 999)),
        ),
        ({"server": ("127.0.0.1", 80), "client": ("10.0.0.1", 999), "http_version": "2"}, None),
        ({"server": ("/run/edge.sock", None), "client": ("", 0)}, None),
        ({"server": None, "client": None}, None),
        ({}, None),
    ],
)
def test_the_addresses_in_a_scope(scope: dict[str, Any], ends: Ends | None) -> None:
    assert ends_of(scope) == ends
