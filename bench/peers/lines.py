"""Publishing to servers that take one event a line over TCP."""

import socket

from bench.load.payload import event_text
from bench.load.publisher import Send


def make_line_send(port: int) -> Send:
    """Connect to `port`, and return a function that sends an event there."""
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(number: int) -> None:
        connection.sendall(event_text(number) + b"\n")

    return send
