"""Certificates for tests, and edges that speak TLS."""

import select
import shutil
import ssl
import subprocess
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from edge.tls import CertificateFiles
from tests.support.cluster import Cluster, Edge, free_ports
from tests.support.processes import python


def make_certificate(directory: Path, name: str = "edge", *options: str) -> CertificateFiles:
    """Make a certificate for this machine, which is its own issuer; skip without `openssl`."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    directory.mkdir(exist_ok=True)
    files = CertificateFiles(directory / f"{name}.crt", directory / f"{name}.key")
    names = "subjectAltName=DNS:localhost,DNS:edge.example,IP:127.0.0.1"
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    command += ["-days", "2", "-subj", f"/CN={name}", "-addext", names]
    command += ["-out", str(files.certificate), "-keyout", str(files.key)]
    subprocess.run([*command, *(options or ("-nodes",))], check=True, capture_output=True)
    files.key.chmod(0o600)
    return files


class OneThreadAtATime(ssl.SSLSocket):
    """A socket that one thread reads and another one writes, as `EventClient` does.

    OpenSSL does not allow that at the same time, and Python 3.11 does not prevent it: now and then
    a request would never be sent.
    """

    def __new__(cls, *arguments: Any, **options: Any) -> "OneThreadAtATime":
        made = super().__new__(cls, *arguments, **options)
        made._turn = threading.Lock()  # type: ignore[attr-defined]
        return made

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        timeout_s = self.gettimeout()
        while True:
            if not self.pending() and not select.select([self], [], [], timeout_s)[0]:
                raise TimeoutError("nothing came in time")
            with self._turn:  # type: ignore[attr-defined]
                # What came may be no data, such as a ticket: to wait for more would stop writers.
                self.settimeout(0)
                try:
                    return super().recv(buflen, flags)
                except ssl.SSLWantReadError:
                    continue
                finally:
                    self.settimeout(timeout_s)

    def send(self, data: Any, flags: int = 0) -> int:
        with self._turn:  # type: ignore[attr-defined]
            return super().send(data, flags)


def trusting(*certificates: Path) -> ssl.SSLContext:
    """Return the context of a client that trusts these certificates alone."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.sslsocket_class = OneThreadAtATime
    for each in certificates:
        context.load_verify_locations(each)
    return context


class SecureEdge(Edge):
    """An edge that is reached by `https`, itself or behind a proxy."""

    def __init__(self, edge: Edge, context: ssl.SSLContext) -> None:
        super().__init__(edge.process, edge.port, edge.workers)
        self.context = context

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def status(self, path: str) -> int:
        try:
            with urllib.request.urlopen(
                f"{self.url}{path}", timeout=5, context=self.context
            ) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0


def start_secure_edge(cluster: Cluster, files: CertificateFiles, **env: str) -> SecureEdge:
    """Start an edge that speaks TLS itself, and wait until it follows the relay."""
    [port] = free_ports(1)
    process = cluster.start_forked(
        f"edge-{port}",
        python("-m", "edge"),
        EDGE_PORT=str(port),
        EDGE_TLS_CERT=str(files.certificate),
        EDGE_TLS_KEY=str(files.key),
        **env,
    )
    plain = Edge(process, port, int(env.get("EDGE_WORKERS", "1")))
    edge = SecureEdge(plain, trusting(files.certificate))
    edge.wait_ready()
    return edge
