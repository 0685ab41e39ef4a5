"""A small real server: answers commands over HTTP, changes its files, uses CPU and memory.

It prints its port as the first line, and ends when its standard input does, so that it never
outlives the manager that holds the other end: `python -m relay.demo.server DATA_DIR`.
"""

import contextlib
import json
import math
import os
import random
import signal
import sys
import threading
import time
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

REGIONS = 40
REGION_BYTES = 48 * 1024
"""The largest size of a region file in bytes; it bounds the server's use of the disk."""
GROWTH_BYTES = 4 * 1024
TICK_S = 0.25
WAVE_PERIOD_S = 30.0
BUSIEST_SHARE = 0.12
"""The largest share of one CPU."""
MAX_MEMORY_BLOCKS = 24
BLOCK_BYTES = 1024 * 1024
MAX_COMMAND_BYTES = 10_000


class World:
    """The server's files, and the work on them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._random = random.Random()
        self._memory: list[bytearray] = []
        self.commands = 0
        for number in range(REGIONS):
            path = self._region(number)
            if not path.exists():
                path.write_bytes(self._random.randbytes(REGION_BYTES // 2))

    def tick(self, now: float) -> None:
        """Grow one region, and use CPU and memory by a wave over time."""
        crest = (1 + math.sin(now / WAVE_PERIOD_S * 2 * math.pi)) / 2
        self._grow(self._region(self._random.randrange(REGIONS)))
        self._fill_memory(int(crest * MAX_MEMORY_BLOCKS))
        self._calculate(TICK_S * BUSIEST_SHARE * (0.2 + crest) * self._random.random())

    def command(self, text: str) -> str:
        """Execute the command `text` and return the console's answer."""
        self.commands += 1
        line = f"{time.strftime('%H:%M:%S')} {text}"
        log = self._folder / "console.log"
        earlier = log.read_text().splitlines()[-99:] if log.exists() else []
        log.write_text("\n".join([*earlier, line]) + "\n")
        return f"Done: {text}"

    def _region(self, number: int) -> Path:
        return self._folder / f"region-{number:02}.dat"

    def _grow(self, path: Path) -> None:
        content = path.read_bytes() + self._random.randbytes(GROWTH_BYTES)
        path.write_bytes(content[-REGION_BYTES:])

    def _fill_memory(self, blocks: int) -> None:
        del self._memory[blocks:]
        while len(self._memory) < blocks:
            self._memory.append(bytearray(self._random.randbytes(1024)) * (BLOCK_BYTES // 1024))

    def _calculate(self, cpu_s: float) -> None:
        block = self._random.randbytes(16 * 1024)
        until = time.thread_time() + cpu_s
        while time.thread_time() < until:
            zlib.compress(block)


class Console(BaseHTTPRequestHandler):
    """`POST /command` with `{"command": "say hi"}`; `GET /` answers while the server lives."""

    server: "Server"

    def do_GET(self) -> None:
        self._reply(200, {"status": "running", "commands": self.server.world.commands})

    def do_POST(self) -> None:
        if self.path != "/command":
            self._reply(404, {"error": "not found"})
            return
        size = min(int(self.headers.get("Content-Length", 0)), MAX_COMMAND_BYTES)
        try:
            command = json.loads(self.rfile.read(size))["command"]
        except (ValueError, KeyError, TypeError):
            self._reply(400, {"error": "expected an object with a command"})
            return
        self._reply(200, {"output": self.server.world.command(str(command))})

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: the manager logs the operations."""

    def _reply(self, status: int, body: dict[str, Any]) -> None:
        payload = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)


class Server(ThreadingHTTPServer):
    """The console's HTTP server, on a free port of the loopback interface."""

    daemon_threads = True

    def __init__(self, world: World) -> None:
        super().__init__(("127.0.0.1", 0), Console)
        self.world = world


def main(folder: Path) -> None:
    """Serve until standard input ends."""
    # Ctrl-C reaches the whole process group; the manager handles it and stops this server.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    folder.mkdir(parents=True, exist_ok=True)
    server = Server(World(folder))
    ending = threading.Event()
    work = threading.Thread(target=_work, args=(server.world, ending), daemon=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    work.start()
    # `print` would fail again at exit if the manager has ended already.
    with contextlib.suppress(BrokenPipeError):
        os.write(sys.stdout.fileno(), f"{server.server_port}\n".encode())
    sys.stdin.buffer.read()
    ending.set()
    work.join()


def _work(world: World, ending: threading.Event) -> None:
    while not ending.wait(TICK_S):
        # The disk may have room again at the next tick.
        with contextlib.suppress(OSError, MemoryError):
            world.tick(time.monotonic())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
