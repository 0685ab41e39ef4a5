"""`ClientEndpoint`: every client of this worker, from its credentials to its end (section 7)."""

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Protocol

from edge.catch_up_runner import CatchUpRunner
from edge.config import EdgeSettings
from edge.core.control.readiness import Readiness
from edge.core.identity.request_head import RequestHead
from edge.core.session import Session, SessionServices, Visitor
from edge.core.stats import EdgeStats
from edge.core.websocket import close_codes
from edge.core.websocket.close_codes import Close, CloseCode
from edge.core.websocket.frames import Opcode
from edge.core.websocket.reader import Message
from edge.core.websocket.send_queue import Budget
from edge.core.websocket.server_protocol import Sending
from edge.scheduling.deadlines import Deadlines
from edge.scheduling.end_of_turn import EndOfTurnWrites
from edge.scheduling.periodic_visits import PeriodicVisits
from edge.scheduling.time_slices import Party, TimeSlicedQueue
from edge.websocket.arrivals import GAVE_WAY, Arrival, Arrivals
from edge.websocket.client import Client, ClientServices
from edge.websocket.descriptor_guard import DescriptorGuard
from edge.websocket.identification import Identification
from edge.websocket.reception import Reception
from relay.shared.descriptor_room import DescriptorRoom

CLOSE_TIMEOUT_S = 5.0
"""Seconds for a client to answer a close frame; then the connection is cut."""
KEEPALIVE_INTERVAL_S = 20.0
FIRST_MESSAGE_WAIT_S = 1.0
"""Seconds for a client with a cookie to name another token; then it is the cookie's user."""
TICK_S = 0.25
LATE_TICK_S = 5.0
"""Seconds between two ticks after which this process, and not its clients, stood still."""


class Application(Protocol):
    """The application in which this edge is, if it has functions of its own (`edge.host`)."""

    async def visitor(self, head: RequestHead, peer: str | None, reception: Reception) -> Visitor:
        """Return the claims of a handshake from the address `peer`. Raises `HandshakeRefused`."""

    def opened(self, client: Client, session: Session, visitor: Visitor) -> None:
        """A client is there, and is about to be admitted."""

    def message(self, client: Client, text: str) -> None:
        """Act on a message of the client, in its order."""

    def recheck(self, client: Client) -> None:
        """Ask again whether a client may have its subscriptions; end the others."""

    def lost(self, client: Client) -> None:
        """A client is gone, and the manager has been told so."""


class ClientEndpoint:
    """The `Host` of all clients of a worker: their sessions, deadlines and keepalive."""

    application: Application | None = None
    """Takes part in the conversations."""

    def __init__(
        self,
        settings: EdgeSettings,
        services: SessionServices,
        catch_up: CatchUpRunner,
        stats: EdgeStats,
        room: DescriptorRoom,
        readiness: Readiness,
    ) -> None:
        """Look after clients on the running event loop, until `close`."""
        loop = asyncio.get_running_loop()
        self.settings = settings
        self.guard = DescriptorGuard(room, stats, loop)
        self.requests = TimeSlicedQueue(loop, settings.user_share)
        """Handshakes and messages of clients."""
        self.arrivals = Arrivals(loop, settings, stats, self.guard)
        self._budget = Budget(settings.max_queued_total_bytes)
        self.client_services = ClientServices(
            self,
            _sending(settings, stats, self._budget),
            EndOfTurnWrites(loop),
            Deadlines[Client](loop, CLOSE_TIMEOUT_S, Client.abort),
            settings.max_message_bytes,
        )
        self.identify = Identification(settings.credential_rules, services.tokens)
        self._services = services
        self._catch_up = catch_up
        self._stats = stats
        self._loop = loop
        self._sessions: dict[Client, Session] = {}
        self._counted: dict[Client, Arrival] = {}
        """Of clients whose addresses count."""
        wait_s = settings.authentication_timeout_s
        self._authenticating = Deadlines[Client](loop, wait_s, self._authentication_is_due)
        self._by_cookie = Deadlines[Client](loop, FIRST_MESSAGE_WAIT_S, self._cookie_is_due)
        self._positions = PeriodicVisits(settings.position_interval_s, self._tell_position)
        self._keepalive = PeriodicVisits(KEEPALIVE_INTERVAL_S, self._check_alive)
        self._readiness = readiness
        self._ticked_at = loop.time()
        self._tick_timer = loop.call_later(TICK_S, self._tick)

    def __len__(self) -> int:
        """The number of clients."""
        return len(self._sessions)

    @property
    def max_connections(self) -> int:
        """Clients at a time; fewer than the setting says if there are too few descriptors."""
        return self.guard.max_connections(self.settings.max_connections)

    @property
    def catching_up(self) -> int:
        """The number of clients whose catch-up is running."""
        return len(self._catch_up)

    @property
    def catch_up_waits(self) -> int:
        """How often a catch-up had to wait for the budget of its user."""
        return self._catch_up.reads.budget.waits

    @property
    def waiting_frames(self) -> int:
        """The number of frames that were sent to clients and are not written."""
        waiting = sum(client.waiting for client in self._sessions)
        return waiting + self._services.manager.waiting

    @property
    def waiting_bytes(self) -> int:
        """The bytes that wait for slow clients."""
        return self._budget.used_bytes

    @property
    def waiting_requests(self) -> int:
        """The number of handshakes and messages that wait for their turn."""
        return len(self.requests)

    def close(self) -> None:
        """End all catch-ups, timers and deadlines."""
        self._catch_up.close()
        self._tick_timer.cancel()
        self.requests.close()
        self.arrivals.close()
        self.guard.close()
        self._authenticating.close()
        self._by_cookie.close()
        self.client_services.closing.close()

    def relay_found(self) -> None:
        """Events arrive: tell clients that stayed where the streams are."""
        for client in tuple(self._sessions):
            self._tell_position(client)

    def relay_lost(self) -> None:
        """Close all clients with 4013: a connection without events would look alive."""
        clients = tuple(self._sessions)
        close = self._readiness.send_away(len(clients))
        for client in clients:
            client.close(close)

    def housekeep(self, now: float) -> None:
        """Close clients with expired tokens. `now` is monotonic. Called about once a second."""
        for client, session in tuple(self._sessions.items()):
            if session.is_expired(now):
                client.close(CloseCode.TOKEN_EXPIRED.close())

    def recheck(self, username: str | None = None) -> None:
        """The rights of a user, or of all, may have changed: end what is no longer allowed."""
        for client, session in tuple(self._sessions.items()):
            identity = session.identity
            if identity is not None and username in (None, identity.username):
                self.requests.run(partial(self._recheck, client), self._party(client))

    # For the front door.

    def overload_s(self, party: Party | None = None) -> float | None:
        """Return None while new clients of `party` are served in time, else the wait in seconds."""
        wait_s = self.requests.wait_s(party)
        return wait_s if wait_s > self.settings.admission_wait_s else None

    def turned_away(self, close: Close) -> Close:
        """Count a connection that is accepted and closed at once; return its close as sent."""
        self._stats.connections_accepted += 1
        self._stats.closed[close.code] += 1
        return self.settings.close_codes.on_wire(close)

    def handshake_refused(self) -> None:
        """Count a handshake that was answered with an HTTP error."""
        self._stats.handshakes_refused += 1

    def open(
        self, client: Client, visitor: Visitor, arrival: Arrival | None = None
    ) -> Session | None:
        """Serve a client whose handshake is done; return its session, None if it is refused.

        `arrival` ends with the client.
        """
        self._stats.connections_accepted += 1
        if arrival is not None and arrival.is_counted:
            self._counted[client] = arrival
        refusal = None if arrival is None else arrival.refusal
        if (refusal := refusal or self._refusal() or visitor.refusal) is not None:
            client.close(refusal)
            return None
        session = Session(
            client, self._services, partial(self._catch_up.start, client), visitor, time.monotonic()
        )
        self._sessions[client] = session
        if self.application is not None:
            self.application.opened(client, session, visitor)
        now = self._loop.time()
        self._positions.add(client, now)
        self._keepalive.add(client, now)
        if visitor.identity is not None:
            _close_if(client, session.admit(visitor.identity, time.monotonic(), time.time()))
        elif visitor.by_cookie is not None:
            self._by_cookie.add(client)
        else:
            self._authenticating.add(client)
        if session.identity is None and not client.closed:
            self.arrivals.anonymous.add(
                client, partial(_give_way, client), lambda: session.identity is not None
            )
        return None if client.closed else session

    # As `Host`.

    def in_turn(self, client: Client, work: Callable[[], None]) -> bool:
        """Call `work` in the turn of a client's user; return whether that is now."""
        return self.requests.run(work, self._party(client))

    def has_time(self) -> bool:
        """Return whether the work of a turn may go on: nobody else waits for long."""
        return self.requests.has_time

    def frame_received(self, client: Client) -> bool:
        """Count a frame of a client against its rate limit; return whether it may go on."""
        session = self._sessions.get(client)
        if session is None:
            return True
        close = session.count_message(time.monotonic())
        _close_if(client, close)
        return close is None

    def bytes_received(self, client: Client, size: int) -> bool:
        """Count bytes of a client against its rate limit; return whether it may go on."""
        session = self._sessions.get(client)
        close = None if session is None else session.count_bytes(size, time.monotonic())
        _close_if(client, close)
        return close is None

    def message_received(self, client: Client, message: Message) -> None:
        """Act on a message."""
        self._stats.messages_received += 1
        session = self._sessions.get(client)
        if session is None or client.closed:
            return
        self._act_on(client, session, message)
        if session.identity is not None and not client.closed:
            self._wait_for_budget(client, session.identity.username)

    def connection_lost(self, client: Client) -> None:
        """Forget a client."""
        self._catch_up.cancel(client)
        self._sessions.pop(client, None)
        self.arrivals.anonymous.discard(client)
        if (arrival := self._counted.pop(client, None)) is not None:
            arrival.left()
        self._services.manager.disconnect(client)
        if self.application is not None:
            self.application.lost(client)

    def _party(self, client: Client) -> Party:
        """Return who takes turns with others in the queue of requests: a user, if known.

        The same for all that waits of one client: while it has work in the queue it is not read.
        """
        session = self._sessions.get(client)
        identity = None if session is None else session.identity
        if identity is None:
            return Party(client, has_share=False)
        return Party(identity.username, has_share=True)

    def _wait_for_budget(self, client: Client, username: str) -> None:
        """Read nothing more from a client while its user has looked up too much."""
        budget = self._catch_up.reads.budget
        if wait_s := budget.wait_s(username, time.monotonic()):
            budget.waits += 1
            client.pause_reading()
            self._loop.call_later(wait_s, client.resume_reading)

    def _act_on(self, client: Client, session: Session, message: Message) -> None:
        close: Close | None
        if message.opcode is Opcode.BINARY:
            close = CloseCode.UNSUPPORTED_DATA.close()
        else:
            try:
                text = message.payload.decode()
            except UnicodeDecodeError:
                client.fail(CloseCode.INVALID_TEXT.close())
                return
            if self.application is not None:
                self.application.message(client, text)
                return
            close = session.act_on(text, time.monotonic(), time.time())
        _close_if(client, close)

    def _recheck(self, client: Client) -> None:
        session = self._sessions.get(client)
        if session is None or client.closed:
            return
        if self.application is not None:
            self.application.recheck(client)
        else:
            session.recheck()

    def _cookie_is_due(self, client: Client) -> None:
        # Behind a first message that waits for its turn: its token wins over the cookie.
        self.requests.run(partial(self._admit_by_cookie, client), self._party(client))

    def _admit_by_cookie(self, client: Client) -> None:
        session = self._sessions.get(client)
        if session is not None and not client.closed:
            _close_if(client, session.admit_by_cookie(time.monotonic(), time.time()))

    def _authentication_is_due(self, client: Client) -> None:
        # Behind the messages that the client has sent and that still wait for their turn.
        self.requests.run(partial(self._check_authenticated, client), self._party(client))

    def _check_authenticated(self, client: Client) -> None:
        session = self._sessions.get(client)
        if session is not None and session.identity is None:
            client.close(close_codes.AUTHENTICATION_TIMEOUT)

    def _tick(self) -> None:
        now = self._loop.time()
        is_late = now - self._ticked_at > LATE_TICK_S
        self._ticked_at = now
        self._tick_timer = self._loop.call_later(TICK_S, self._tick)
        self._positions.tick(now)
        self.arrivals.anonymous.forget_known()
        # After a standstill of ours, the answers to pings are still unread: nobody is to blame.
        if not is_late:
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
        is_full = len(self._sessions) >= self.max_connections
        if is_full and not self.arrivals.anonymous.make_room():
            return CloseCode.TOO_MANY_CONNECTIONS.close()
        return self._readiness.refusal


def _sending(settings: EdgeSettings, stats: EdgeStats, budget: Budget) -> Sending:
    limit_bytes = settings.max_queued_bytes
    return Sending(stats, budget, limit_bytes, close_codes=settings.close_codes)


def _give_way(client: Client) -> None:
    """Cut a client whose user is not known; it reads why, if it can."""
    client.close(GAVE_WAY)
    client.abort()


def _close_if(client: Client, close: Close | None) -> None:
    """Close the connection if there is a reason."""
    if close is not None:
        client.close(close)
