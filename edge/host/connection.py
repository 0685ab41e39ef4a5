"""`ClientConnection`: one client, as the functions of the application see it."""

import asyncio
import contextlib
import secrets
import threading
from collections.abc import Callable, Collection
from typing import Any, Protocol, TypeVarTuple

import orjson

from edge.core.hub.audience import Connection
from edge.core.hub.connections import ConnectionManager
from edge.core.identity.access import Identity
from edge.core.websocket.close_codes import MAX_REASON_BYTES, Close
from edge.core.websocket.frames import text_frame
from relay.wire.topics import Pattern

MIN_APP_CODE, MAX_APP_CODE = 4000, 4999
"""Close codes for applications (RFC 6455, section 7.4.2)."""

Ts = TypeVarTuple("Ts")


class Closable(Connection, Protocol):
    """A connection that can be closed from here."""

    @property
    def closed(self) -> bool: ...

    def close(self, close: Close) -> None: ...


class ClientConnection:
    """An open WebSocket on this worker. `id` is unique among all workers."""

    __slots__ = ("_client", "_loop", "_manager", "_thread", "id", "state")

    def __init__(self, client: Closable, manager: ConnectionManager) -> None:
        """Build it on the running event loop."""
        self._client = client
        self._manager = manager
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self.id = secrets.token_hex(8)
        self.state: dict[str, Any] = {}
        """For the application: it ends with the connection."""

    @property
    def identity(self) -> Identity:
        """The user, with `username`, `role` and `expires_at` (Unix seconds)."""
        return self._client.identity

    @property
    def username(self) -> str:
        """The name of the user."""
        return self._client.identity.username

    @property
    def topics(self) -> Collection[str]:
        """The topics and patterns to which the client is subscribed."""
        return [str(pattern) for pattern in tuple(self._patterns())]

    @property
    def is_closed(self) -> bool:
        """Whether the connection is being closed: messages go nowhere any more."""
        return self._client.closed

    def send(self, message: Any) -> None:
        """Send `message`, any JSON value, to this client alone. It is not kept for a resume.

        From any thread. Raises `TypeError` for a value without a JSON form.
        """
        frame = text_frame(orjson.dumps(message))
        self._on_loop(self._manager.send_to_client, self._client, frame)

    def close(self, code: int = 4000, reason: str = "") -> None:
        """Close the connection with a code of the application's own, 4000 to 4999.

        From any thread. Raises `ValueError` for another code or a reason of more than 123 bytes.
        """
        self._on_loop(self._client.close, app_close(code, reason))

    def _on_loop(self, act: Callable[[*Ts], object], *args: *Ts) -> None:
        """Do it in the thread of the event loop: plain hooks run in others."""
        if threading.get_ident() == self._thread:
            act(*args)
            return
        # After the end of the loop all connections are closed.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(act, *args)

    def _patterns(self) -> Collection[Pattern]:
        if self._client not in self._manager:
            return ()
        return self._manager.subscriptions(self._client).keys()


def app_close(code: int, reason: str) -> Close:
    """Return the close frame of an application's own. Raises `ValueError`."""
    if not MIN_APP_CODE <= code <= MAX_APP_CODE:
        raise ValueError(f"code must be {MIN_APP_CODE} to {MAX_APP_CODE}, not {code}")
    if len(reason.encode()) > MAX_REASON_BYTES:
        raise ValueError(f"reason has more than {MAX_REASON_BYTES} bytes")
    return Close(code, reason)
