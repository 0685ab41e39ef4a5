"""A server of an identity provider's keys, on loopback."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class IdentityServer(ThreadingHTTPServer):
    """Answers every GET with `body`, and counts."""

    allow_reuse_address = True

    def __init__(self, port: int, body: bytes) -> None:
        super().__init__(("127.0.0.1", port), _KeysAnswer)
        self.body = body
        self.status = 200
        self.headers = list[tuple[str, str]]()
        self.asked = list[str]()


class _KeysAnswer(BaseHTTPRequestHandler):
    server: IdentityServer

    def do_GET(self) -> None:
        """Answer."""
        self.server.asked.append(self.path)
        self.send_response(self.server.status)
        for header in self.server.headers:
            self.send_header(*header)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def serving_keys(port: int, body: bytes) -> Iterator[IdentityServer]:
    """Serve `body` at `port` during the body of the caller."""
    with IdentityServer(port, body) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
