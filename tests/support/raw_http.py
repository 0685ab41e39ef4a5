"""TCP connections to an edge whose bytes are the test's own."""

import contextlib
import json
import socket
from contextlib import ExitStack

from tests.support.cluster import Edge
from tests.support.websocket_frames import TEXT, client_frame, split_frames

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
TIMEOUT_S = 15.0
STALLED_S = 0.5
"""Seconds without a byte taken after which a peer counts as not reading."""


class RawSocket:
    """A TCP connection to an edge."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._buffer = b""

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self._socket.sendall(data)

    @property
    def port(self) -> int:
        """The port at this end."""
        port: int = self._socket.getsockname()[1]
        return port

    def send_while_taken(self, data: bytes, max_bytes: int) -> None:
        """Send `data` again and again, until the peer takes nothing for a while, or has hung up."""
        self._socket.settimeout(STALLED_S)
        with contextlib.suppress(OSError):
            while max_bytes > 0:
                max_bytes -= self._socket.send(data)
        self._socket.settimeout(TIMEOUT_S)

    def head(self) -> bytes:
        """Read the head of an HTTP response."""
        while b"\r\n\r\n" not in self._buffer:
            assert self._read(), f"the edge ended after {self._buffer!r}"
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        return head

    def response(self) -> tuple[int, dict[str, str], bytes]:
        """Read an HTTP response: status, headers in lower case, body."""
        head = self.head()
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        size = int(headers.get("content-length", 0))
        while len(self._buffer) < size:
            assert self._read(), "the body is not whole"
        body, self._buffer = self._buffer[:size], self._buffer[size:]
        return int(first.split()[1]), headers, body

    def frames_until(self, opcode_byte: int, text: bytes = b"") -> list[tuple[int, bytes]]:
        """Read frames up to one that begins with this byte and holds `text`."""
        came: list[tuple[int, bytes]] = []
        while True:
            frames, self._buffer = split_frames(self._buffer)
            came += frames
            for index, (first, payload) in enumerate(came):
                if first == opcode_byte and text in payload:
                    return came[: index + 1]
            assert self._read(), f"the edge ended after {came}"

    def is_ended(self) -> bool:
        """Read to the end. Fails when it does not come in time."""
        while self._read():
            pass
        return True

    def _read(self) -> bool:
        try:
            data = self._socket.recv(65536)
        except ConnectionResetError:
            data = b""
        self._buffer += data
        return bool(data)


class RawSockets:
    """Opens connections to an edge."""

    def __init__(self, edge: Edge, stack: ExitStack) -> None:
        self._edge = edge
        self._stack = stack

    def connect(self) -> RawSocket:
        """A new connection."""
        address = ("127.0.0.1", self._edge.port)
        sock = self._stack.enter_context(socket.create_connection(address, TIMEOUT_S))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return RawSocket(sock)

    def connect_and_leave(self, data: bytes) -> None:
        """Send `data` on a new connection, and go before an answer can come."""
        with socket.create_connection(("127.0.0.1", self._edge.port), TIMEOUT_S) as sock:
            sock.sendall(data)


def request(path: str, *more: str, **headers: str) -> bytes:
    """An upgrade request. Headers that are given replace those with the same name, or are added."""
    fields = {
        "Host": "edge",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": KEY,
        "Sec-WebSocket-Version": "13",
    } | {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), *more]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


def subscribe(topic: str) -> bytes:
    """A request to subscribe, as one frame. Its `id` asks for a reply with all fields."""
    request = {"action": "subscribe", "topic": topic, "id": topic}
    return client_frame(TEXT, json.dumps(request).encode())


def assert_served(client: RawSocket) -> None:
    """The handshake is done, and a request is answered."""
    status, headers, _ = client.response()
    assert status == 101
    assert headers["sec-websocket-accept"] == ACCEPT.decode().partition(": ")[2]
    client.send(subscribe("event:x"))
    client.frames_until(TEXT, b"Subscribed to topic 'event:x'")
