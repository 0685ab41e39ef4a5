"""What the benchmark has to know of a server."""

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
    """Called in the publisher's process: connects, and returns what publishes an event."""
    pids: Mapping[str, int]
    """Its processes by what they are; the CPU of all of them counts."""

    def cpu_s(self) -> dict[str, float]:
        """What each process has used so far."""
        return {name: cpu_s(pid) for name, pid in self.pids.items()}

    def memory(self) -> dict[str, int]:
        """What each process has now, in bytes."""
        return {name: rss_bytes(pid) for name, pid in self.pids.items()}


class Peer(Protocol):
    """A kind of server."""

    @property
    def name(self) -> str:
        """As in the tables."""

    def missing(self) -> str | None:
        """How to get what is not installed, None if all is there."""

    def version(self) -> str:
        """Of what is installed."""

    def run(self, directory: Path, clients: int) -> AbstractContextManager[Server]:
        """Run it for as many clients, with what it needs to write in `directory`."""
