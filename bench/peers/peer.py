"""A server, as the benchmark runs and measures it."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench.load.dialect import Dialect
from bench.load.publisher import Send
from bench.meters import cpu_s, rss_bytes


@dataclass(frozen=True)
class Server:
    """A running server."""

    dialect: Dialect
    make_send: Callable[[], Send]
    """Called in the publisher's process: connects, and returns a function that publishes."""
    pids: Mapping[str, int]
    """Its processes by role; the CPU of all of them counts."""

    def cpu_s(self) -> dict[str, float]:
        """Return the CPU seconds of each process so far."""
        return {name: cpu_s(pid) for name, pid in self.pids.items()}

    def memory(self) -> dict[str, int]:
        """Return the memory of each process, in bytes."""
        return {name: rss_bytes(pid) for name, pid in self.pids.items()}


class Peer(Protocol):
    """A kind of server."""

    @property
    def name(self) -> str:
        """The name in the tables."""

    def missing(self) -> str | None:
        """Return the command that installs a missing program; None if none is missing."""

    def version(self) -> str:
        """Return the installed version."""

    def run(self, directory: Path, clients: int) -> AbstractContextManager[Server]:
        """Run the server for `clients` clients; it writes its files into `directory`."""
