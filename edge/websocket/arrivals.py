"""`Arrivals`: the limits of connections before their users are known.

How many an address has and how fast it makes them, silent ones that give way to newcomers, and the
deadlines of requests.
"""

import asyncio
import weakref
from collections.abc import Callable
from typing import Protocol

from edge.config import EdgeSettings
from edge.core.address_limits import AddressExcess, AddressLimits
from edge.core.identity.request_head import RequestHead
from edge.core.identity.wrong_passwords import address_of
from edge.core.rate_limit import TokenBucket
from edge.core.stats import EdgeStats
from edge.core.websocket.close_codes import Close, CloseCode, try_again
from edge.scheduling.deadlines import Deadlines
from edge.scheduling.time_slices import Party
from edge.websocket.descriptor_guard import DescriptorGuard
from edge.websocket.strangers import Strangers

ARRIVAL_TIMEOUT_S = 10.0
"""Seconds for a new connection to send its first request; later requests have up to twice that."""
MAX_ARRIVING = 50_000
"""Connections of the last `ARRIVAL_TIMEOUT_S` and those of HTTP; with more, the oldest are due."""
MIN_AGE_S = 0.5
"""A younger connection does not give way for want of descriptors: its request may be on its way."""
GAVE_WAY = try_again("gave way to newer connections", 1.0)
_REFUSALS = {
    AddressExcess.CONNECTIONS: CloseCode.TOO_MANY_CONNECTIONS.close(
        "too many connections of this address"
    ),
    AddressExcess.RATE: try_again("too many new connections of this address", 5.0),
}
_TOO_MANY_NEW = try_again("too many new connections", 1.0)


class Expecting(Protocol):
    """A connection whose next request is awaited."""

    def give_way(self) -> None:
        """End the connection: a newer one needs its room."""


class Arrival:
    """One connection, of an address that counts or of none."""

    __slots__ = ("_address", "_arrivals", "refusal")

    def __init__(self, arrivals: "Arrivals", address: str | None, refusal: Close | None) -> None:
        self._arrivals = arrivals
        self._address = address
        self.refusal = refusal
        """The close of a connection that is not served."""

    @property
    def is_counted(self) -> bool:
        """Whether its end has to be told by `left`."""
        return self._address is not None

    def expect(self, give_up_if_late: Callable[[], None]) -> None:
        """Call a method at the next deadline, if its object still exists."""
        self._arrivals.expect(give_up_if_late)

    def hold(self, connection: Expecting) -> None:
        """The next request of `connection` is awaited: it may have to give way."""
        # One that is not served has no room that it could give: its descriptor is reserved.
        if self.refusal is None:
            self._arrivals.strangers.add(connection, connection.give_way)

    def release(self, connection: Expecting) -> None:
        """A request has arrived."""
        self._arrivals.strangers.discard(connection)

    def count_refusal(self, status: int) -> None:
        """A request was given up, with this status or without an answer."""
        self._arrivals.stats.arrivals.requests_refused[str(status)] += 1

    def left(self) -> None:
        """The connection has ended. Further calls have no effect."""
        address, self._address = self._address, None
        if address is not None:
            self._arrivals.addresses.leave(address)


class Arrivals:
    """The connections of a worker that arrive."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        settings: EdgeSettings,
        stats: EdgeStats,
        guard: DescriptorGuard,
    ) -> None:
        self.stats = stats
        self._loop = loop
        self._guard = guard
        self._proxies = settings.credential_rules.proxies
        self.deadlines = Deadlines[Callable[[], None]](
            loop, ARRIVAL_TIMEOUT_S, lambda give_up_if_late: give_up_if_late(), MAX_ARRIVING
        )
        self.addresses = AddressLimits(
            settings.max_connections_per_address,
            settings.connections_per_s,
            settings.connection_burst,
        )
        most = settings.max_unauthenticated
        self._accepts = TokenBucket(settings.accepts_per_s, settings.accept_burst, loop.time())
        self.strangers = Strangers(loop, most, self._count_given_way)
        """Connections whose next request is awaited."""
        self.anonymous = Strangers(loop, most, self._count_given_way)
        """Clients whose user is not known yet."""

    def enter(self, transport: asyncio.Transport, peer: str | None) -> Arrival:
        """A connection from `peer` was made."""
        arrival = self._of(None if self._proxies.trusts(peer) else peer)
        if arrival.refusal is None and not self._accepts.take(self._loop.time()):
            self.stats.arrivals.accepts_refused += 1
            arrival.refusal = _TOO_MANY_NEW
        if arrival.refusal is None and not self._guard.has_room(transport) and not self.make_room():
            self._guard.refuse(transport)
            arrival.refusal = CloseCode.TOO_MANY_CONNECTIONS.close()
        elif arrival.refusal is not None:
            self._guard.cut_soon(transport)
        return arrival

    def is_excess(self, arrival: Arrival, transport: asyncio.Transport) -> bool:
        """Return whether a connection is refused for another reason than want of descriptors."""
        return arrival.refusal is not None and self._guard.has_room(transport)

    def of_request(self, head: RequestHead, peer: str | None) -> Arrival:
        """A request has come on a connection that was not entered, or from a proxy."""
        client = self._proxies.read(head, peer).client if self._proxies.trusts(peer) else peer
        return self.of_address(client)

    def party(self, head: RequestHead, peer: str | None) -> Party | None:
        """Return who takes turns with others for the handshake `head`: an address, if known."""
        client = self._proxies.read(head, peer).client if self._proxies.trusts(peer) else peer
        return None if client is None else Party(address_of(client), has_share=False)

    def of_address(self, address: str | None) -> Arrival:
        """A client at `address` has come; None if it has none."""
        trusted = address is None or self._proxies.trusts(address)
        return self._of(None if trusted else address)

    def make_room(self) -> bool:
        """Let the oldest silent connection give way for a newcomer; return whether one did."""
        return self.strangers.make_room(MIN_AGE_S) or self.anonymous.make_room(MIN_AGE_S)

    def expect(self, give_up_if_late: Callable[[], None]) -> None:
        """Call a method at the next deadline, if its object still exists."""
        # A flood of short connections must not stay in memory until their deadlines.
        method = weakref.WeakMethod(give_up_if_late)

        def call() -> None:
            if (present := method()) is not None:
                present()

        self.deadlines.add(call)

    def close(self) -> None:
        """Forget all deadlines."""
        self.deadlines.close()

    def _of(self, address: str | None) -> Arrival:
        if address is None:
            return Arrival(self, None, None)
        excess = self.addresses.enter(address, self._loop.time())
        if excess is None:
            return Arrival(self, address, None)
        self.stats.arrivals.address_refusals[excess.name.lower()] += 1
        return Arrival(self, None, _REFUSALS[excess])

    def _count_given_way(self) -> None:
        self.stats.arrivals.gave_way += 1
