"""socket.io in Node and python-socketio under uvicorn, which share one protocol."""

import importlib.util
import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path

from bench.load.dialect import PlainDialect, Reaction
from bench.peers.lines import make_line_send
from bench.peers.peer import Server
from bench.peers.programs import find_program, program, run_program
from tests.support.cluster import free_ports
from tests.support.processes import python
from tests.support.websocket_frames import TEXT, client_frame

PATH = "/socket.io/?EIO=4&transport=websocket"
EVENT = b'42["event",'
NODE_MODULE = Path(__file__).parents[1] / "node_modules" / "socket.io"
NODE_SERVER = Path(__file__).with_name("socket_io_server.mjs")


class SocketIoDialect(PlainDialect):
    """Engine.IO 4: one digit for the type of packet, and a second one for Socket.IO."""

    ready_signs = 1

    def __init__(self, port: int) -> None:
        super().__init__(port, PATH)

    def first(self, client: int) -> bytes:
        """See `Dialect`. Connects to the default namespace."""
        return client_frame(TEXT, b"40")

    def event(self, payload: bytes) -> bytes | None:
        """See `Dialect`."""
        return payload[len(EVENT) : -1] if payload.startswith(EVENT) else None

    def react(self, payload: bytes) -> Reaction:
        """See `Dialect`."""
        reply = client_frame(TEXT, b"3") if payload == b"2" else b""
        return Reaction(reply, is_ready_sign=payload.startswith(b"40"))


class SocketIo:
    """socket.io in Node."""

    name = "socket.io"

    def missing(self) -> str | None:
        """See `Peer`."""
        if find_program("node") is None:
            return "apt-get install nodejs npm"
        return None if NODE_MODULE.exists() else "npm ci --prefix bench --ignore-scripts"

    def version(self) -> str:
        """See `Peer`."""
        return str(json.loads((NODE_MODULE / "package.json").read_text())["version"])

    @contextmanager
    def run(self, directory: Path, clients: int) -> Iterator[Server]:
        """See `Peer`."""
        port, publish_port = free_ports(2)
        command = (program("node"), str(NODE_SERVER), str(port), str(publish_port))
        with run_program(self.name, command, "listening") as pid:
            send = partial(make_line_send, publish_port)
            yield Server(SocketIoDialect(port), send, {"server": pid})


class PythonSocketIo:
    """python-socketio under uvicorn."""

    name = "python-socketio"

    def missing(self) -> str | None:
        """See `Peer`."""
        if importlib.util.find_spec("socketio") is not None:
            return None
        return ".venv/bin/pip install -r requirements-bench.lock"

    def version(self) -> str:
        """See `Peer`."""
        return version("python-socketio")

    @contextmanager
    def run(self, directory: Path, clients: int) -> Iterator[Server]:
        """See `Peer`."""
        port, publish_port = free_ports(2)
        command = python("-m", "bench.peers.python_socketio_server", str(port), str(publish_port))
        with run_program(self.name, command, "Uvicorn running") as pid:
            send = partial(make_line_send, publish_port)
            yield Server(SocketIoDialect(port), send, {"server": pid})
