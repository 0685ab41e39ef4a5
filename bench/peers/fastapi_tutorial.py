"""The broadcast of FastAPI's tutorial."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path

from bench.load.dialect import PlainDialect, opening
from bench.peers.lines import make_line_send
from bench.peers.peer import Server
from bench.peers.programs import run_program
from tests.support.cluster import free_ports
from tests.support.processes import python


class TutorialDialect(PlainDialect):
    """Gives each client a path of its own."""

    def opening(self, client: int) -> bytes:
        """See `Dialect`."""
        return opening(self.port, f"/ws/{client}")


class FastApiTutorial:
    """The tutorial's application under uvicorn, with one worker."""

    name = "FastAPI tutorial"

    def missing(self) -> str | None:
        """See `Peer`."""
        return None

    def version(self) -> str:
        """See `Peer`."""
        return f"FastAPI {version('fastapi')}, uvicorn {version('uvicorn')}"

    @contextmanager
    def run(self, directory: Path, clients: int) -> Iterator[Server]:
        """See `Peer`."""
        port, publish_port = free_ports(2)
        command = python("-m", "bench.peers.fastapi_server", str(port), str(publish_port))
        with run_program(self.name, command, "Uvicorn running") as pid:
            send = partial(make_line_send, publish_port)
            yield Server(TutorialDialect(port), send, {"server": pid})
