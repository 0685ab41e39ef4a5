"""All clients of one load generator, in one thread: one epoll, and a plan of their connections."""

import resource
import select
import time
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import NamedTuple

from bench.load.client import Client, Closed, Refused
from bench.load.dialect import Dialect
from bench.load.tape import Reader, Tape

READY_A_TURN = 1024
TURN_S = 0.005
"""The longest wait of one turn, in seconds."""
RETRY_S = 0.1
"""Seconds from a refused connection to the next attempt, unless the server names a delay."""
TRY_AGAIN_LATER = 4013
EDGES = select.EPOLLIN | select.EPOLLOUT | select.EPOLLET
"""Edge-triggered: one report per arrival is cheaper than reports until it is read."""


@dataclass(frozen=True)
class Plan:
    """A number of clients, and how they connect."""

    dialect: Dialect
    clients: int
    groups: int = 1
    """Client i belongs to group i % groups; event n is for group n % groups."""
    small_buffers: int = 0
    """Number of clients, the first ones, with small buffers in the kernel."""
    in_flight: int = 128
    """Number of clients that may be connecting at a time."""
    timeout_s: float = 30.0


class Connected(NamedTuple):
    """The result of connecting a plan's clients."""

    clients: int
    seconds: float
    """Seconds until the last client was subscribed."""
    retries: int


class Clients:
    """Connects, serves and closes the clients; call `turn` repeatedly."""

    def __init__(self) -> None:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.subscribed: list[Client] = []
        self._by_descriptor: dict[int, Client] = {}
        self._epoll = select.epoll()
        self._to_connect: list[tuple[float, int]] = []
        """A heap of pairs: earliest time of the next attempt, client's place in the plan."""
        self._connecting: set[Client] = set()
        self._arrived: list[Client] = []
        """Number of the plan's clients that are subscribed."""
        self._retries = 0

    def connect(self, plan: Plan) -> Connected:
        """Connect and subscribe all clients of `plan`, and serve the earlier ones meanwhile."""
        tapes = [Tape(group, plan.groups) for group in range(plan.groups)]
        began = time.monotonic()
        deadline = began + plan.timeout_s
        self._to_connect = [(began, number) for number in range(plan.clients)]
        self._arrived = []
        self._retries = 0
        while len(self._arrived) < plan.clients:
            while len(self._connecting) < plan.in_flight and self._is_one_due():
                _, number = heappop(self._to_connect)
                self._begin(number, plan, tapes[number % plan.groups])
            self.turn()
            if time.monotonic() > deadline:
                words = {client.last_words for client in self._connecting}
                raise TimeoutError(
                    f"{len(self._arrived)} of {plan.clients} are subscribed after "
                    f"{plan.timeout_s:.0f} s; newest words {words}"
                )
        self.subscribed += sorted(self._arrived, key=lambda client: client.number)
        return Connected(plan.clients, time.monotonic() - began, self._retries)

    def turn(self) -> None:
        """Wait shortly for data, and take it."""
        for descriptor, _ in self._epoll.poll(TURN_S, READY_A_TURN):
            client = self._by_descriptor[descriptor]
            try:
                client.step()
            except BlockingIOError:
                continue  # The socket became writable, and there is nothing to read.
            except OSError as error:
                self._lose(client, error)
                continue
            if self._connecting and client.is_subscribed and client in self._connecting:
                self._connecting.remove(client)
                self._arrived.append(client)

    def hang_up(self) -> None:
        """Close the connections of all clients, and forget the clients."""
        for client in self.subscribed:
            client.close()
        self.subscribed = []
        self._by_descriptor = {}

    def stop_reading(self, client: Client) -> None:
        """Stop reading for `client`: its data stays in the kernel's buffers."""
        self._epoll.unregister(client.fileno())

    def _is_one_due(self) -> bool:
        return bool(self._to_connect) and self._to_connect[0][0] <= time.monotonic()

    def _begin(self, number: int, plan: Plan, tape: Tape) -> None:
        reader = Reader(tape, plan.dialect)
        try:
            client = Client(number, plan.dialect, reader, is_small=number < plan.small_buffers)
        except ConnectionError:
            self._try_again(number, RETRY_S)
            return
        self._by_descriptor[client.fileno()] = client
        self._epoll.register(client.fileno(), EDGES)
        self._connecting.add(client)

    def _lose(self, client: Client, error: OSError) -> None:
        del self._by_descriptor[client.fileno()]
        client.close()
        if client not in self._connecting:
            client.reader.fault = client.reader.fault or str(error)
            return
        retry_s = RETRY_S
        if isinstance(error, Closed):
            if error.code != TRY_AGAIN_LATER:
                raise Refused(str(error))
            retry_s = error.retry_s or RETRY_S
        self._connecting.remove(client)
        self._try_again(client.number, retry_s)

    def _try_again(self, number: int, after_s: float) -> None:
        heappush(self._to_connect, (time.monotonic() + after_s, number))
        self._retries += 1
