"""`/ws`: takes a client from handshake to close (protocol section 7)."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from functools import partial

from starlette.responses import JSONResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from edge.catch_up import CatchUp
from edge.clients import AsgiClient, Client, DirectClient, Turn
from edge.config import EdgeSettings
from edge.core import close_codes
from edge.core.access import Identity
from edge.core.close_codes import Close, CloseCode
from edge.core.credentials import find_credentials
from edge.core.requests import InvalidRequest, parse_task_position
from edge.core.session import Session
from edge.core.tokens import InvalidToken, Tokens
from edge.fanout import Fanout
from edge.websocket import direct_protocol


class ClientEndpoint:
    """Serves every client of this worker, and looks after those that are connected."""

    def __init__(self, settings: EdgeSettings, fanout: Fanout, tokens: Tokens) -> None:
        self._settings = settings
        self._fanout = fanout
        self._tokens = tokens
        self._stats = fanout.stats
        self._catch_up = CatchUp(fanout.library, fanout.stats)
        self._sessions: dict[Client, Session] = {}
        self._turn: Turn | None = None
        self._relay_is_alive = False
        self._position_due_at = 0.0
        """By the monotonic clock."""

    def __len__(self) -> int:
        return len(self._sessions)

    @property
    def catching_up(self) -> int:
        """How many clients are being sent what they missed."""
        return len(self._catch_up)

    @property
    def waiting_frames(self) -> int:
        """How many frames wait for their clients."""
        return sum(client.waiting for client in self._sessions)

    def close(self) -> None:
        """Stop catching clients up."""
        self._catch_up.close()

    def relay_found(self) -> None:
        """Events arrive: clients are welcome, and those that stayed are told where streams are."""
        self._relay_is_alive = True
        self._tell_positions()

    def relay_lost(self) -> None:
        """Send everybody away: a connection without events would look alive."""
        self._relay_is_alive = False
        for client in tuple(self._sessions):
            client.close(CloseCode.RELAY_LOST.close())

    def housekeep(self, now: float) -> None:
        """Close where tokens have expired, and tell positions when it is time.

        `now` is Unix time in seconds. Called about once a second.
        """
        for client, session in tuple(self._sessions.items()):
            if session.is_expired(now):
                client.close(CloseCode.TOKEN_EXPIRED.close())
        if time.monotonic() >= self._position_due_at:
            self._tell_positions()
        self._fanout.housekeep()

    async def serve(self, websocket: WebSocket) -> None:
        """Talk to one client until one side closes."""
        credentials = find_credentials(
            websocket.headers,
            websocket.query_params,
            websocket.cookies,
            self._settings.allowed_origins,
        )
        identity: Identity | None = None
        if credentials.explicit is not None:
            identity = self._verify(credentials.explicit)
            if identity is None:
                self._stats.handshakes_refused += 1
                await _deny(websocket, 401, "Invalid token", {"WWW-Authenticate": "Bearer"})
                return
        elif credentials.cookie is not None:
            identity = self._verify(credentials.cookie)
        try:
            tasks_since = parse_task_position(websocket.query_params)
        except InvalidRequest as error:
            self._stats.handshakes_refused += 1
            await _deny(websocket, 400, str(error))
            return
        await websocket.accept()
        self._stats.connections_accepted += 1
        async with self._open(websocket) as client:
            session = Session(
                client,
                self._fanout.manager,
                self._fanout.streams,
                self._fanout,
                partial(self._catch_up.start, client),
                self._tokens,
                self._settings.session_limits,
                cookie=credentials.cookie,
                now=time.time(),
                tasks_since=tasks_since,
            )
            refusal = self._refusal()
            if refusal is None:
                self._sessions[client] = session
                if identity is not None:
                    refusal = session.admit(identity)
            try:
                await self._converse(websocket, client, session, refusal)
            finally:
                self._catch_up.cancel(client)
                self._sessions.pop(client, None)
                self._fanout.manager.disconnect(client)
                client.gone()

    def _tell_positions(self) -> None:
        self._position_due_at = time.monotonic() + self._settings.position_interval_s
        for client, session in self._sessions.items():
            if session.is_catching_up:
                self._fanout.tell_epoch(client)
            elif session.identity is not None:
                self._fanout.tell_position(client)

    def _refusal(self) -> Close | None:
        if not self._relay_is_alive:
            return CloseCode.RELAY_LOST.close()
        if len(self._sessions) >= self._settings.max_connections:
            return CloseCode.TOO_MANY_CONNECTIONS.close()
        return None

    def _verify(self, token: str) -> Identity | None:
        try:
            return self._tokens.verify(token, time.time())
        except InvalidToken:
            return None

    async def _converse(
        self, websocket: WebSocket, client: Client, session: Session, refusal: Close | None
    ) -> None:
        if refusal is not None:
            client.close(refusal)
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):
            if session.identity is None and refusal is None:
                try:
                    async with asyncio.timeout(self._settings.authentication_timeout_s):
                        going_on = await self._receive(websocket, client, session)
                except TimeoutError:
                    client.close(close_codes.AUTHENTICATION_TIMEOUT)
                    going_on = True
                if not going_on:
                    return
            while await self._receive(websocket, client, session):
                pass

    async def _receive(self, websocket: WebSocket, client: Client, session: Session) -> bool:
        """Act on the next message; return False when there will be no more."""
        message = await websocket.receive()
        if message["type"] != "websocket.receive":
            return False
        if client.closed:
            return True
        self._stats.messages_received += 1
        text = message.get("text")
        if text is None:
            client.close(CloseCode.UNSUPPORTED_DATA.close())
        elif len(text) > self._settings.max_message_bytes:
            client.close(CloseCode.TOO_LARGE.close())
        elif close := session.receive(text, time.time()):
            client.close(close)
        return True

    @contextlib.asynccontextmanager
    async def _open(self, websocket: WebSocket) -> AsyncIterator[Client]:
        """Yield the fastest kind of client that the server allows."""
        protocol = direct_protocol(websocket.scope.get("extensions", {}))
        if protocol is not None:
            if self._turn is None:
                self._turn = Turn(asyncio.get_running_loop())
            yield DirectClient(protocol, self._turn, self._stats, self._settings.max_queued_bytes)
            return
        client = AsgiClient(websocket, self._stats, self._settings.max_queued_bytes)
        writer = asyncio.create_task(client.run())
        try:
            yield client
        finally:
            writer.cancel()
            with contextlib.suppress(asyncio.CancelledError, WebSocketDisconnect, RuntimeError):
                await writer


async def _deny(
    websocket: WebSocket, status: int, detail: str, headers: dict[str, str] | None = None
) -> None:
    """Refuse the handshake with `status`; a server that cannot do that answers 403."""
    if "websocket.http.response" not in websocket.scope.get("extensions", {}):
        await websocket.close()
        return
    await websocket.send_denial_response(JSONResponse({"detail": detail}, status, headers))
