"""An application with an edge in it, served by any ASGI server."""

import json
import urllib.error
import urllib.request
from typing import Any

from websockets.exceptions import ConnectionClosed

from edge.core.websocket.close_codes import CloseCode
from relay.testing.processes import ManagedProcess
from tests.support.clients import Client
from tests.support.cluster import Cluster, free_ports
from tests.support.processes import python
from tests.support.waiting import wait_for

SERVERS = ("front door", "uvicorn", "gunicorn", "hypercorn", "granian")
OUR_HTTP = ("--http", "edge.uvicorn:http")


def command(server: str, app: str, port: int, workers: int = 1) -> list[str]:
    """Return the command with which `server` serves `app`, as docs/embedding.md has it."""
    address = f"127.0.0.1:{port}"
    many = ["--workers", str(workers)]
    match server:
        case "front door":
            return python("-m", "uvicorn", app, "--port", str(port), *OUR_HTTP, *many)
        case "uvicorn":
            return python("-m", "uvicorn", app, "--port", str(port), *many)
        case "gunicorn":
            worker = "edge.gunicorn.EdgeWorker"
            return python("-m", "gunicorn", app, "--bind", address, "-k", worker, *many)
        case "hypercorn":
            return python("-m", "hypercorn", app, "--bind", address, *many)
        case "granian":
            options = ("--interface", "asgi", "--port", str(port), *many)
            return python("-m", "granian", *options, app)
    raise ValueError(f"no such server: {server}")


class HostApp:
    """A running application."""

    def __init__(self, process: ManagedProcess, port: int, prefix: str) -> None:
        self.process = process
        self.port = port
        self.prefix = prefix

    @property
    def url(self) -> str:
        """The base URL of the application."""
        return f"http://127.0.0.1:{self.port}"

    def request(
        self, path: str, data: object = None, method: str | None = None, **headers: str
    ) -> tuple[int, Any]:
        """Return status and JSON of a request, 0 without an answer; `data` is sent as JSON."""
        body = None if data is None else json.dumps(data).encode()
        request = urllib.request.Request(f"{self.url}{path}", body, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                status, text = response.status, response.read()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read()
        except OSError:
            return 0, None
        try:
            return status, json.loads(text)
        except ValueError:
            return status, text.decode()

    def connect(self, query: str = "", path: str = "/ws", **options: Any) -> Client:
        """Return a client of the edge in the application."""
        url = f"ws://127.0.0.1:{self.port}{self.prefix}{path}"
        return Client(f"{url}?{query}" if query else url, **options)

    def subscribed(self, topic: str, query: str = "", **options: Any) -> Client:
        """Return a client that is subscribed to `topic`; try again while a worker is not ready."""
        found: list[Client] = []

        def is_subscribed() -> bool:
            client = self.connect(query, **options)
            try:
                client.subscribe(topic)
            except ConnectionClosed as closed:
                client.close()
                if closed.rcvd is not None and closed.rcvd.code == CloseCode.TRY_AGAIN_LATER.code:
                    return False
                raise
            found.append(client)
            return True

        wait_for(is_subscribed, f"a worker serves {topic}", 60.0)
        return found[0]

    def wait_ready(self, timeout: float = 60.0) -> None:
        """Wait until the edge follows the relay."""

        def ready() -> bool:
            assert self.process.returncode is None, f"it ended:\n{self.process.output()}"
            return self.request(f"{self.prefix}/readyz")[0] == 200

        wait_for(ready, "the application is ready", timeout)


def serve(
    cluster: Cluster,
    app: str,
    server: str = "front door",
    *,
    prefix: str = "/live",
    workers: int = 1,
    **env: str,
) -> HostApp:
    """Serve `app`, whose edge is at `prefix`, and wait until it is ready."""
    (port,) = free_ports(1)
    process = cluster.start_forked(f"{server}-{port}", command(server, app, port, workers), **env)
    host = HostApp(process, port, prefix)
    host.wait_ready()
    return host
