"""`converse`: many connections to an edge at once, each of which sends what it is told to."""

import contextlib
import select
import socket
import struct
from collections.abc import Callable, Sequence
from random import Random
from typing import NamedTuple

QUIET_MS = 25
"""Milliseconds without a byte after which nothing more is waited for."""
MOST_READS = 400
MAX_ANSWER_BYTES = 256 * 1024
IP_BIND_ADDRESS_NO_PORT = 24
"""Linux: the port is chosen with the connection, so that addresses share none."""
RESET = struct.pack("ii", 1, 0)


class Talk(NamedTuple):
    """The pieces that one connection sends, and a check of the answer to them."""

    pieces: Sequence[bytes]
    inputs: int
    check: Callable[[bytes], None]
    """Raises `AssertionError` for an answer that the edge must not give."""


def converse(port: int, talks: Sequence[Talk], chance: Random) -> int:
    """Make the connections; return how many the edge has ended by itself."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(_connected(port, chance)) for _ in talks]
        _send_all(sockets, talks)
        answers, ended = _read_all(sockets)
        for each in sockets:
            if chance.random() < 0.5:
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    for talk, answer in zip(talks, answers, strict=True):
        talk.check(answer)
    return ended


def _connected(port: int, chance: Random) -> socket.socket:
    """Return a connection from an address of its own, so that no address has too many."""
    sock = socket.socket()
    sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
    address = ".".join(str(chance.randint(1, 250)) for _ in range(3))
    sock.bind((f"127.{address}", 0))
    sock.settimeout(20)
    sock.connect(("127.0.0.1", port))
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _send_all(sockets: Sequence[socket.socket], talks: Sequence[Talk]) -> None:
    """Send the first piece of each, then the second piece of each."""
    open_ = dict(enumerate(sockets))
    for turn in range(max(len(talk.pieces) for talk in talks)):
        for number, sock in list(open_.items()):
            if turn >= len(talks[number].pieces):
                continue
            try:
                piece = talks[number].pieces[turn]
                if sock.send(piece) < len(piece):
                    # The edge does not read: the rest is not sent.
                    del open_[number]
            except OSError:
                del open_[number]


def _read_all(sockets: Sequence[socket.socket]) -> tuple[list[bytes], int]:
    """Return what has come on each until all are quiet, and how many have ended."""
    answers = [bytearray() for _ in sockets]
    numbers = {sock.fileno(): number for number, sock in enumerate(sockets)}
    poll = select.poll()
    for descriptor in numbers:
        poll.register(descriptor, select.POLLIN)
    ended = 0
    for _ in range(MOST_READS):
        found = poll.poll(QUIET_MS) if ended < len(sockets) else []
        if not found:
            break
        for descriptor, _events in found:
            number = numbers[descriptor]
            data = _read(sockets[number])
            if data and len(answers[number]) < MAX_ANSWER_BYTES:
                answers[number] += data
            else:
                ended += not data
                poll.unregister(descriptor)
    return [bytes(each) for each in answers], ended


def _read(sock: socket.socket) -> bytes:
    try:
        return sock.recv(65536)
    except OSError:
        return b""
