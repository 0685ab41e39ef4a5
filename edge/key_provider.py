"""`KeyProvider`: reads the keys of an identity provider again and again, from a file or a URL.

In a thread of its own, so that neither a slow server nor a slow disk stops the event loop. What
cannot be read is logged, and the last keys stay.
"""

import contextlib
import http.client
import logging
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from urllib.parse import SplitResult, urlsplit

from edge.core.identity.keys import MAX_JWKS_BYTES, InvalidKeys, Key, keys_of_jwks
from relay.shared.logs import LimitedLog

TIMEOUT_S = 5.0
"""Seconds for each step of a request, and twice as many for all of it."""
CLOSE_TIMEOUT_S = 1.0
"""Seconds for a reading to end when the worker does; the thread does not hold the process."""

logger = logging.getLogger(__name__)


class KeyProvider:
    """The last keys that were read from `source`; a `Provider`. Safe to use from any thread."""

    keys: Sequence[Key] | None = None

    def __init__(self, source: str, interval_s: float, max_age_s: float) -> None:
        """Read at least every `max_age_s`, and never twice within `interval_s`."""
        self.source = source
        self.readings = 0
        """How often it was read or tried."""
        self._interval_s = interval_s
        self._max_age_s = max_age_s
        self._wake = threading.Condition()
        self._is_asked = False
        self._is_closing = False
        self._ended_at: float | None = None
        """When the last reading ended, in monotonic time; None before the first."""
        self._log = LimitedLog(logger)

    @property
    def is_url(self) -> bool:
        """Whether the keys come from a server, which may be away when the edge starts."""
        return "://" in self.source

    def ask(self) -> bool:
        """Read the keys again soon; return whether the answer comes without a further delay.

        False if they were read just now: then another reading follows after the interval.
        """
        with self._wake:
            self._is_asked = True
            self._wake.notify()
            ended_at = self._ended_at
        return ended_at is None or time.monotonic() - ended_at >= self._interval_s

    def read(self) -> None:
        """Read the keys now. Raises `InvalidKeys`; the last keys stay then."""
        self.readings += 1
        try:
            content = _download(self.source) if self.is_url else _read_file(self.source)
            self.keys = keys_of_jwks(content)
        except (OSError, http.client.HTTPException) as error:
            raise InvalidKeys(f"cannot be read: {error or type(error).__name__}") from None

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Keep the keys up to date during the body."""
        self._is_closing = False
        thread = threading.Thread(target=self._run, name="jwks", daemon=True)
        thread.start()
        try:
            yield
        finally:
            with self._wake:
                self._is_closing = True
                self._wake.notify()
            thread.join(CLOSE_TIMEOUT_S)

    def _run(self) -> None:
        if self.keys is None:
            self.read_or_log()
        while self._wait():
            self.read_or_log()

    def read_or_log(self) -> None:
        """Read the keys now; log what is wrong."""
        with self._wake:
            self._is_asked = False
        try:
            self.read()
        except InvalidKeys as error:
            # Not the source: a URL may hold a secret.
            self._log.error("jwks", "EDGE_JWT_JWKS %s; the last keys stay", error)
        except Exception:
            logger.exception("the keys of the identity provider could not be read")

    def _wait(self) -> bool:
        """Wait until the keys are to be read again; return False at the end."""
        with self._wake:
            self._ended_at = time.monotonic()
            self._wake.wait_for(lambda: self._is_closing, self._interval_s)
            if self.keys is not None:
                age_s = max(0.0, self._max_age_s - self._interval_s)
                self._wake.wait_for(lambda: self._is_closing or self._is_asked, age_s)
            return not self._is_closing


def _read_file(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read(MAX_JWKS_BYTES + 1)


def _download(url: str) -> bytes:
    """Return the body behind `url`, up to one byte more than is allowed. Follows no redirect."""
    parts = urlsplit(url)
    connection = _connection(parts)
    # A server that sends a byte now and then would hold the thread for ever.
    give_up = threading.Timer(2 * TIMEOUT_S, _cut, (connection,))
    give_up.daemon = True
    give_up.start()
    try:
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", path, headers={"Accept": "application/json"})
        response = connection.getresponse()
        if response.status != http.HTTPStatus.OK:
            raise InvalidKeys(f"was answered with HTTP status {response.status}")
        return response.read(MAX_JWKS_BYTES + 1)
    finally:
        give_up.cancel()
        connection.close()


def _connection(parts: SplitResult) -> http.client.HTTPConnection:
    host = parts.hostname or ""
    if parts.scheme == "https":
        return http.client.HTTPSConnection(host, parts.port, timeout=TIMEOUT_S)
    return http.client.HTTPConnection(host, parts.port, timeout=TIMEOUT_S)


def _cut(connection: http.client.HTTPConnection) -> None:
    with contextlib.suppress(OSError):
        if connection.sock is not None:
            connection.sock.shutdown(socket.SHUT_RDWR)
