"""`/ws`: looks after every client of this worker, from its credentials to its end (section 7)."""

import asyncio
import time
from collections.abc import Mapping
from functools import partial
from typing import Protocol

from edge.catch_up import CatchUp
from edge.config import EdgeSettings
from edge.core.hub.send_queue import Budget
from edge.core.identity.access import Identity
from edge.core.identity.credentials import find_credentials
from edge.core.identity.tokens import InvalidToken
from edge.core.protocol.requests import InvalidRequest, parse_task_position
from edge.core.session import Session, SessionServices, Visitor
from edge.core.stats import EdgeStats
from edge.core.websocket import close_codes
from edge.core.websocket.close_codes import Close, CloseCode
from edge.core.websocket.frames import Opcode
from edge.core.websocket.reader import Message
from edge.scheduling.deadlines import Deadlines, Rounds
from edge.scheduling.time_slices import Slices
from edge.websocket.writer import Client, DirectClient, Turn, Writing

CLOSE_TIMEOUT_S = 5.0
"""For a client to answer a close frame; then the connection is cut."""
ARRIVAL_TIMEOUT_S = 10.0
"""For a connection to say what it wants."""
KEEPALIVE_INTERVAL_S = 20.0
TICK_S = 0.25
LATE_TICK_S = 5.0
"""A tick as late as that means that this process stood still."""


class Arrival(Protocol):
    """A connection that has not said what it wants."""

    def give_up(self) -> None:
        """End it, if it still has not."""


class Refused(Exception):  # noqa: N818
    """The handshake is answered with an HTTP error."""

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers


class ClientEndpoint:
    """Serves every client of this worker."""

    slices: Slices
    writing: Writing
    arriving: Deadlines[Arrival]

    def __init__(
        self,
        settings: EdgeSettings,
        services: SessionServices,
        catch_up: CatchUp,
        stats: EdgeStats,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.settings = settings
        self._services = services
        self._catch_up = catch_up
        self._stats = stats
        self._loop = loop
        self._sessions: dict[Client, Session] = {}
        self._budget = Budget(settings.max_queued_total_bytes)
        self._positions = Rounds(settings.position_interval_s, self._tell_position)
        self._keepalive = Rounds(KEEPALIVE_INTERVAL_S, self._check_alive)
        self._relay_is_alive = False
        self._tick: asyncio.TimerHandle | None = None
        self._ticked_at = 0.0

    def __len__(self) -> int:
        return len(self._sessions)

    @property
    def catching_up(self) -> int:
        """How many clients are being sent what they missed."""
        return len(self._catch_up)

    @property
    def waiting_frames(self) -> int:
        """How many frames wait for their clients."""
        waiting = sum(client.waiting for client in self._sessions)
        return waiting + self._services.manager.waiting

    @property
    def waiting_bytes(self) -> int:
        """How many bytes wait for slow clients."""
        return self._budget.used_bytes

    @property
    def waiting_requests(self) -> int:
        """How many handshakes and messages of clients wait for their turn."""
        return 0 if self._tick is None else len(self.slices)

    def start(self) -> None:
        """Begin to look after clients."""
        loop = self._loop
        self.slices = Slices(loop)
        self.arriving = Deadlines(loop, ARRIVAL_TIMEOUT_S, lambda arrival: arrival.give_up())
        self._authenticating: Deadlines[Client] = Deadlines(
            loop,
            self.settings.authentication_timeout_s,
            self._time_is_up,
        )
        closing = Deadlines[DirectClient](loop, CLOSE_TIMEOUT_S, lambda client: client.abort())
        self.writing = Writing(
            self._stats, Turn(loop), self._budget, self.settings.max_queued_bytes, closing
        )
        self._ticked_at = loop.time()
        self._on_tick()

    def close(self) -> None:
        """Stop catching clients up, and looking after them."""
        self._catch_up.close()
        if self._tick is not None:
            self._tick.cancel()
            for deadlines in (self.arriving, self._authenticating, self.writing.closing):
                deadlines.close()

    def relay_found(self) -> None:
        """Events arrive: clients are welcome, and those that stayed are told where streams are."""
        self._relay_is_alive = True
        for client in tuple(self._sessions):
            self._tell_position(client)

    def relay_lost(self) -> None:
        """Send everybody away: a connection without events would look alive."""
        self._relay_is_alive = False
        for client in tuple(self._sessions):
            client.close(CloseCode.TRY_AGAIN_LATER.close())

    def housekeep(self, now: float) -> None:
        """Close where tokens have expired. `now` is Unix time. Called about once a second."""
        for client, session in tuple(self._sessions.items()):
            if session.is_expired(now):
                client.close(CloseCode.TOKEN_EXPIRED.close())

    # Whoever takes connections.

    def overload_s(self) -> float | None:
        """None while a new client is served soon enough, else when it should come back."""
        wait_s = self.slices.wait_s
        return wait_s if wait_s > self.settings.admission_wait_s else None

    def sent_away(self, close: Close) -> None:
        """A connection was accepted and closed at once."""
        self._stats.connections_accepted += 1
        self._stats.closed[close.code] += 1

    def refused(self) -> None:
        """A handshake was answered with an error."""
        self._stats.handshakes_refused += 1

    def identify(
        self, headers: Mapping[str, str], query: Mapping[str, str], cookies: Mapping[str, str]
    ) -> Visitor:
        """Return who asks for a connection, or raise `Refused`. `headers` has lower-case names."""
        credentials = find_credentials(headers, query, cookies, self.settings.allowed_origins)
        identity: Identity | None = None
        if credentials.explicit is not None:
            identity = self._verify(credentials.explicit)
            if identity is None:
                raise Refused(401, "Invalid token", {"WWW-Authenticate": "Bearer"})
        elif credentials.cookie is not None:
            identity = self._verify(credentials.cookie)
        try:
            return Visitor(identity, credentials.cookie, parse_task_position(query))
        except InvalidRequest as error:
            raise Refused(400, str(error)) from None

    def open(self, client: Client, visitor: Visitor) -> None:
        """Serve a client whose handshake is done."""
        self._stats.connections_accepted += 1
        refusal = self._refusal()
        if refusal is not None:
            client.close(refusal)
            return
        session = Session(
            client, self._services, partial(self._catch_up.start, client), visitor, time.time()
        )
        self._sessions[client] = session
        now = self._loop.time()
        self._positions.add(client, now)
        self._keepalive.add(client, now)
        if visitor.identity is None:
            self._authenticating.add(client)
        elif (refusal := session.admit(visitor.identity)) is not None:
            client.close(refusal)

    def counted(self, client: Client) -> bool:
        """A client has sent a frame; return whether it may go on sending."""
        session = self._sessions.get(client)
        if session is None:
            return True
        close = session.count_message(time.time())
        if close is not None:
            client.close(close)
        return close is None

    def received(self, client: Client, message: Message) -> None:
        """A client has sent a message: act on it in its turn, and hear no more till then."""
        self._stats.messages_received += 1
        if not self.slices.run(partial(self._act, client, message)):
            client.pause_reading()
            self.slices.run(client.resume_reading)

    def left(self, client: Client) -> None:
        """The connection has ended."""
        self._catch_up.cancel(client)
        self._sessions.pop(client, None)
        self._services.manager.disconnect(client)
        client.gone()

    def _act(self, client: Client, message: Message) -> None:
        session = self._sessions.get(client)
        if session is None or client.closed:
            return
        close: Close | None
        if message.opcode is Opcode.BINARY:
            close = CloseCode.UNSUPPORTED_DATA.close()
        else:
            try:
                text = message.payload.decode()
            except UnicodeDecodeError:
                close = CloseCode.INVALID_TEXT.close()
            else:
                close = session.act_on(text, time.time())
        if close is not None:
            client.close(close)

    def _time_is_up(self, client: Client) -> None:
        # Behind what it has said and nobody has had the time to hear.
        self.slices.run(partial(self._check_authenticated, client))

    def _check_authenticated(self, client: Client) -> None:
        session = self._sessions.get(client)
        if session is not None and session.identity is None:
            client.close(close_codes.AUTHENTICATION_TIMEOUT)

    def _on_tick(self) -> None:
        now = self._loop.time()
        is_late = now - self._ticked_at > LATE_TICK_S
        self._ticked_at = now
        self._tick = self._loop.call_later(TICK_S, self._on_tick)
        self._positions.tick(now)
        if not is_late:  # Else it was us who were not there to read the pongs.
            self._keepalive.tick(now)

    def _tell_position(self, client: Client) -> bool:
        session = self._sessions.get(client)
        if session is None:
            return False
        session.tell_position()
        return True

    def _check_alive(self, client: Client) -> bool:
        if client not in self._sessions:
            return False
        client.check_alive()
        return True

    def _refusal(self) -> Close | None:
        if not self._relay_is_alive:
            return CloseCode.TRY_AGAIN_LATER.close()
        if len(self._sessions) >= self.settings.max_connections:
            return CloseCode.TOO_MANY_CONNECTIONS.close()
        return None

    def _verify(self, token: str) -> Identity | None:
        try:
            return self._services.tokens.verify(token, time.time())
        except InvalidToken:
            return None
