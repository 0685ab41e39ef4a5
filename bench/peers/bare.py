"""The limit: a loop over `send()` in C that does nothing else for a delivery."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from bench.load.dialect import PlainDialect
from bench.peers.lines import make_line_send
from bench.peers.peer import Server
from tests.support.cluster import free_ports
from tests.support.processes import ManagedProcess

SOURCE = Path(__file__).with_name("bare_send.c")


class Bare:
    """Sends each event to every client with one `send()`."""

    name = "bare send()"

    def missing(self) -> str | None:
        """See `Peer`."""
        return None if shutil.which("cc") else "apt-get install gcc libc6-dev"

    def version(self) -> str:
        """See `Peer`."""
        return ""

    @contextmanager
    def run(self, directory: Path, clients: int) -> Iterator[Server]:
        """See `Peer`."""
        binary = directory / "bare_send"
        subprocess.run(["cc", "-O2", "-Wall", "-o", binary, SOURCE], check=True)
        port, publish_port = free_ports(2)
        process = ManagedProcess(self.name, [str(binary), str(port), str(publish_port)], {})
        process.start()
        try:
            process.wait_for_output("listening")
            yield Server(
                PlainDialect(port), partial(make_line_send, publish_port), {"server": process.pid}
            )
        finally:
            process.close()
