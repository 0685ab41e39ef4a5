"""`ClientEndpoint`: requests in its queue, its timers, overload, a relay that comes and goes."""

import asyncio
import time
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

from edge.catch_up_runner import SharedReads
from edge.config import EdgeSettings
from edge.core.catch_up_budget import CatchUpBudget, CatchUpLimits
from edge.core.control.control_health import ControlHealth
from edge.core.control.readiness import Readiness
from edge.core.identity.access import NEVER, Identity
from edge.core.identity.tokens import Tokens
from edge.core.session import SessionServices, Visitor
from edge.core.stats import EdgeStats
from edge.core.streams.relay_state import RelayState
from edge.core.websocket.close_codes import Close
from edge.scheduling.time_slices import SLICE_S, Party
from edge.websocket.endpoint import ClientEndpoint
from relay.shared.descriptor_room import DescriptorRoom
from tests.edge.recorders import RecordingActions, RecordingConnection
from tests.edge.world import World

ROOM = DescriptorRoom(1024, 20_000, 4096)


class NoCatchUp:
    """Catches nobody up."""

    def __init__(self) -> None:
        self.reads = SharedReads(cast(Any, None), CatchUpBudget(CatchUpLimits(event_burst=100)))

    def start(self, client: object, catching_up: object) -> None:
        """Nobody resumes."""
        raise AssertionError("nobody resumes here")

    def close(self) -> None:
        """Nothing is to be ended."""


class PresentClient(RecordingConnection):
    """Remembers how it was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.closes: list[Close] = []

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return bool(self.closes)

    def close(self, close: Close) -> None:
        """Remember."""
        self.closes.append(close)


def spend_the_slice() -> None:
    """Work for as long as the requests of a turn may take."""
    until = time.monotonic() + SLICE_S
    while time.monotonic() < until:
        pass


def new_endpoint(stats: EdgeStats) -> ClientEndpoint:
    edge, settings = World().edge, EdgeSettings()
    services = SessionServices(
        edge.manager,
        edge.streams,
        edge.snapshots,
        edge.access,
        Tokens("s" * 32),
        settings.session_limits,
        RecordingActions(),
    )
    readiness = Readiness(RelayState(3.0), ControlHealth())
    return ClientEndpoint(settings, services, cast(Any, NoCatchUp()), stats, ROOM, readiness)


def test_clients_of_one_user_have_one_turn_and_one_share() -> None:
    async def scenario() -> None:
        endpoint = new_endpoint(EdgeStats())
        alice, again, stranger = (client_at(endpoint, name) for name in ("alice", "alice", ""))
        done: list[str] = []
        endpoint.requests.run(spend_the_slice)
        assert not endpoint.has_time()
        for name, client in (("1", alice), ("2", again), ("stranger", stranger)):
            assert not endpoint.in_turn(client, partial(done.append, name))
        assert endpoint.waiting_requests == 3
        await asyncio.sleep(0)
        assert done == ["1", "stranger", "2"]
        assert endpoint._party(alice) == Party("alice", has_share=True)
        assert not endpoint._party(stranger).has_share
        endpoint.close()

    asyncio.run(scenario())


def client_at(endpoint: ClientEndpoint, username: str) -> Any:
    """A client of `endpoint`; nobody knows whose without `username`."""
    client: Any = PresentClient()
    identity = Identity(username, "user", NEVER) if username else None
    cast(Any, endpoint)._sessions[client] = SimpleNamespace(identity=identity)
    return client


def test_overload_is_told_by_the_wait_of_the_oldest_request() -> None:
    async def scenario() -> None:
        endpoint = new_endpoint(EdgeStats())
        endpoint.settings = endpoint.settings.model_copy(update={"admission_wait_s": 0.0})
        assert endpoint.overload_s() is None
        endpoint.requests.run(spend_the_slice)
        endpoint.requests.run(spend_the_slice)
        wait_s = endpoint.overload_s()
        assert wait_s is not None
        assert wait_s > 0
        endpoint.close()

    asyncio.run(scenario())


def test_nothing_is_scheduled_after_close() -> None:
    async def scenario() -> None:
        endpoint = new_endpoint(EdgeStats())
        endpoint.arrivals.expect(endpoint.close)
        assert len(endpoint.arrivals.deadlines) == 1
        endpoint.close()
        assert len(endpoint.arrivals.deadlines) == 0
        assert endpoint._tick_timer.cancelled()

    asyncio.run(scenario())


def test_clients_are_closed_with_the_relay_and_refused_until_a_resume_would_succeed() -> None:
    """A connection without events would look alive."""

    async def scenario() -> None:
        edge = World().edge
        settings = EdgeSettings()
        services = SessionServices(
            edge.manager,
            edge.streams,
            edge.snapshots,
            edge.access,
            Tokens("s" * 32),
            settings.session_limits,
            RecordingActions(),
        )
        relay, control = RelayState(3.0), ControlHealth()
        endpoint = ClientEndpoint(
            settings,
            services,
            cast(Any, NoCatchUp()),
            edge.stats,
            ROOM,
            Readiness(relay, control),
        )

        def arrive() -> PresentClient:
            client = PresentClient()
            endpoint.open(cast(Any, client), Visitor(client.identity, (), None))
            return client

        assert [close.code for close in arrive().closes] == [4013], "no relay was found"
        relay.follow(7, 1)
        endpoint.relay_found()
        assert [close.code for close in arrive().closes] == [4013], "it answers no request"
        control.hear(1.0)
        present = [arrive() for _ in range(3)]
        assert not any(client.closed for client in present)
        endpoint.relay_lost()
        assert [close.code for client in present for close in client.closes] == [4013] * 3
        assert all(str(client.closes[0].reason).endswith("retry in 1 s") for client in present)
        now = 100.0
        while not relay.tick(now).is_lost:
            now += 0.25
        assert [close.code for close in arrive().closes] == [4013]
        relay.follow(7, 1)
        endpoint.relay_found()
        assert not arrive().closed
        endpoint.close()

    asyncio.run(scenario())


def test_a_client_whose_user_has_looked_up_too_much_is_not_read_for_a_while() -> None:
    async def scenario() -> None:
        endpoint = new_endpoint(EdgeStats())
        reads = cast(Any, endpoint)._catch_up.reads
        alice: list[str] = []
        bob: list[str] = []
        now = asyncio.Event()

        def client(log: list[str]) -> Any:
            def resume() -> None:
                log.append("resumed")
                now.set()

            return SimpleNamespace(
                pause_reading=lambda: log.append("paused"), resume_reading=resume
            )

        # A debt of 1 ms: 50,000 events a second come back.
        reads.spend("alice", 150, 0)
        endpoint._wait_for_budget(client(alice), "alice")
        endpoint._wait_for_budget(client(bob), "bob")
        assert (alice, bob) == (["paused"], [])
        await now.wait()
        assert alice == ["paused", "resumed"]
        assert endpoint.catch_up_waits == 1
        endpoint.close()

    asyncio.run(scenario())
