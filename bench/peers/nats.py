"""NATS: a broker in Go, whose protocol of text lines also runs over WebSockets."""

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from bench.load.dialect import PlainDialect, Reaction
from bench.load.frames import BINARY, Message
from bench.load.payload import event_text
from bench.load.publisher import Send
from bench.peers.peer import Server
from bench.peers.programs import find_program, program, program_version, run_program
from tests.support.cluster import free_ports
from tests.support.websocket_frames import client_frame

SUBJECT = b"bench"
LINE_END = b"\r\n"
HELLO = b'CONNECT {"verbose":false,"pedantic":false}\r\n'
MESSAGE = re.compile(rb"MSG \S+ \S+ (\d+)\r\n")

CONFIGURATION = """
listen: "127.0.0.1:{port}"
websocket {{ listen: "127.0.0.1:{websocket_port}", no_tls: true }}
"""


class NatsDialect(PlainDialect):
    """Text lines; a `MSG` line is followed by the number of bytes that it names."""

    ready_signs = 1
    is_stream = True

    def first(self, client: int) -> bytes:
        """See `Dialect`. The answer to the ping shows that the subscription is in place."""
        return client_frame(BINARY, HELLO + b"SUB %s 1\r\nPING\r\n" % SUBJECT)

    def split(self, buffer: bytes) -> Iterator[Message]:
        """See `Dialect`."""
        begin = 0
        while (line_end := buffer.find(LINE_END, begin)) >= 0:
            end = line_end + len(LINE_END)
            if message := MESSAGE.match(buffer, begin):
                end += int(message[1]) + len(LINE_END)
            if end > len(buffer):
                return
            yield Message(end, BINARY, buffer[begin:end])
            begin = end

    def event(self, payload: bytes) -> bytes | None:
        """See `Dialect`."""
        message = MESSAGE.match(payload)
        return payload[message.end() : -len(LINE_END)] if message else None

    def react(self, payload: bytes) -> Reaction:
        """See `Dialect`."""
        reply = client_frame(BINARY, b"PONG\r\n") if payload == b"PING\r\n" else b""
        return Reaction(reply, is_ready_sign=payload == b"PONG\r\n")


class Nats:
    """One NATS server."""

    name = "NATS"

    def missing(self) -> str | None:
        """See `Peer`."""
        return (
            None
            if find_program("nats-server")
            else ".venv/bin/pip install -r requirements-bench.lock"
        )

    def version(self) -> str:
        """See `Peer`."""
        return program_version("nats-server", "--version")

    @contextmanager
    def run(self, directory: Path, clients: int) -> Iterator[Server]:
        """See `Peer`."""
        port, websocket_port = free_ports(2)
        configuration = directory / "nats.conf"
        configuration.write_text(CONFIGURATION.format(port=port, websocket_port=websocket_port))
        command = (program("nats-server"), "-c", str(configuration))
        with run_program(self.name, command, "Server is ready") as pid:
            yield Server(NatsDialect(websocket_port), partial(_make_send, port), {"server": pid})


def _make_send(port: int) -> Send:
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall(HELLO + b"PING\r\n")
    said = b""
    while b"PONG" not in said:
        said += connection.recv(4096)

    def send(number: int) -> None:
        text = event_text(number)
        connection.sendall(b"PUB %s %d\r\n%s\r\n" % (SUBJECT, len(text), text))

    return send
