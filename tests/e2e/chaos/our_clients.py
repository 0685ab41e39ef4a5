"""The clients that applications use, in the midst of the swarm: `edge.client`, `relay-client.js`,
and one of event streams.

They are judged as the swarm's own clients are, by the same kind of record.
"""

import abc
import asyncio
import http.client
import threading
from collections.abc import Callable
from typing import Any

from edge import client
from edge.client import Event, EventStream, RelayClient
from tests.conformance.event_stream import ServerSentEvents
from tests.conformance.node_client import NodeClient
from tests.conformance.told import Driver, Wish
from tests.support.swarm_client import MAY_RECONNECT
from tests.support.swarm_record import PERSONAL_STREAMS, Record

MAX_DELAY_S = 0.5
POSITION_INTERVAL_S = 0.2
TURNS = 5
"""Turns of a loop in which iterations take the events that have arrived."""
END_TIMEOUT_S = 20.0


class OurClient(abc.ABC):
    """One client with a record."""

    def __init__(self, name: str, username: str, patterns: tuple[str, ...]) -> None:
        self.name = name
        self.username = username
        self.record = Record(patterns, personal_position=0)
        # It is there before the first event.
        self.record.starts = {pattern: {"event": 0} for pattern in patterns}

    @property
    @abc.abstractmethod
    def is_settled(self) -> bool:
        """Whether it is connected and has a reply to each of its subscriptions."""

    @abc.abstractmethod
    def close(self) -> None:
        """End it."""

    def take(self, topic: str, stream: str, offset: int | None, data: dict[str, Any]) -> None:
        """Record one event that reached the application."""
        self.record.take({"topic": topic, "stream": stream, "offset": offset, "data": data})

    def take_position(self, epoch: int | str | None, position: dict[str, int]) -> None:
        """Record a position; all events up to it have been taken."""
        if isinstance(epoch, int):
            self.record.epoch = epoch
            self.record.epochs.add(epoch)
        known = self.record.positions
        for stream, offset in position.items():
            known[stream] = max(offset, known.get(stream, 0))


class OurPythonClients:
    """Runs several clients in one thread with a loop of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="our clients")
        self._thread.start()
        self._running: list[asyncio.Task[None]] = []

    def start(self, each: "OurPythonClient") -> None:
        """Let a client run until `close`."""

        async def started() -> None:
            self._running.append(asyncio.create_task(each.run()))

        asyncio.run_coroutine_threadsafe(started(), self._loop).result(END_TIMEOUT_S)

    def close(self) -> None:
        """End all clients and the thread."""

        async def ended() -> None:
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(ended(), self._loop).result(END_TIMEOUT_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(END_TIMEOUT_S)
        self._loop.close()


class OurPythonClient(OurClient):
    """`edge.client`, with an iteration for its pattern and for each personal stream."""

    def __init__(
        self, name: str, username: str, pattern: str | None, url: str, token: Callable[[], str]
    ) -> None:
        super().__init__(name, username, () if pattern is None else (pattern,))
        self._url = url
        self._token = token
        self._relay: RelayClient | None = None
        self._is_subscribed = False

    @property
    def is_settled(self) -> bool:
        """See `OurClient`."""
        return self._is_subscribed and self._relay is not None and self._relay.state.name == "live"

    def close(self) -> None:
        """See `OurClient`; `OurPythonClients` ends it."""

    async def run(self) -> None:
        """Watch until cancelled; a failure is an error of the record."""
        try:
            await self._watch()
        except Exception as error:  # noqa: BLE001 - the judge must see it
            self.record.errors.append(f"the client has failed: {error!r}")

    async def _watch(self) -> None:
        async with (
            client.connect(
                self._url,
                token=self._token,
                on_loss=lambda loss: self.record.errors.append(f"lost: {loss}"),
                max_delay_s=MAX_DELAY_S,
                open_timeout_s=None,
            ) as relay,
            asyncio.TaskGroup() as tasks,
        ):
            self._relay = relay
            tasks.create_task(self._read(relay.tasks(), is_personal=True))
            tasks.create_task(self._read(relay.addressed(), is_personal=True))
            for pattern in self.record.patterns:
                tasks.create_task(self._subscribe(relay, pattern))
            self._is_subscribed = not self.record.patterns
            await self._tell_position(relay)

    async def _subscribe(self, relay: RelayClient, pattern: str) -> None:
        async with relay.subscribe(pattern) as stream:
            self._is_subscribed = True
            await self._read(stream, is_personal=False)

    async def _read(self, stream: EventStream, *, is_personal: bool) -> None:
        async for event in stream:
            self._take_event(event, is_personal=is_personal)

    def _take_event(self, event: Event, *, is_personal: bool) -> None:
        if event.retained:
            self.record.retained += 1
        # An event for one user also comes through a pattern that matches its topic.
        elif (event.stream in PERSONAL_STREAMS) is is_personal:
            self.take(event.topic, event.stream, event.offset, event.data)

    async def _tell_position(self, relay: RelayClient) -> None:
        while True:
            epoch, position = relay.position
            for _ in range(TURNS):
                await asyncio.sleep(0)
            self.take_position(epoch, position)
            await asyncio.sleep(POSITION_INTERVAL_S)


class _DrivenClient(OurClient):
    """A client that a driver of the conformance suite runs."""

    _driver: Driver

    @property
    def is_settled(self) -> bool:
        """See `OurClient`."""
        return self._driver.is_live

    def close(self) -> None:
        """See `OurClient`."""
        self._driver.close()


class OurNodeClient(_DrivenClient):
    """`relay-client.js` in a process of Node."""

    def __init__(
        self, name: str, username: str, pattern: str, url: str, token: Callable[[], str]
    ) -> None:
        super().__init__(name, username, (pattern,))
        self._driver = _RecordingNode(Wish(url, token, (pattern,)), self)


class _RecordingNode(NodeClient):
    """Keeps a record instead of a list of everything."""

    def __init__(self, wish: Wish, owner: OurNodeClient) -> None:
        self._owner = owner
        super().__init__(wish)
        # The judge looks there.
        self.faults = owner.record.errors

    def _take(self, line: dict[str, Any]) -> None:
        owner = self._owner
        match line:
            case {"type": "heard", "retained": True}:
                owner.record.retained += 1
            case {"type": "heard", "via": via, "stream": stream, "topic": topic, "data": data}:
                if (stream in PERSONAL_STREAMS) is (via not in self.wish.patterns):
                    owner.take(topic, stream, line["offset"], data)
            case {"type": "position", "epoch": epoch, "position": position}:
                owner.take_position(epoch, position)
            case {"type": "gap" | "restart" | "refused"}:
                owner.record.errors.append(f"was told {line}")
            case _:
                super()._take(line)


class OurStreamClient(_DrivenClient):
    """`GET /api/events`, as a browser's EventSource reads it."""

    def __init__(self, name: str, username: str, wish: Wish) -> None:
        super().__init__(name, username, wish.patterns)
        self._driver = _RecordingStream(wish, self.record)


class _RecordingStream(ServerSentEvents):
    """Keeps a record of the messages, as the swarm's own clients do."""

    def __init__(self, wish: Wish, record: Record) -> None:
        self._record = record
        super().__init__(wish)
        # The judge looks there.
        self.faults = record.errors

    def lost(self, code: int) -> None:
        """See `Driver`."""
        super().lost(code)
        if code not in MAY_RECONNECT:
            self._record.errors.append(f"its stream ended with {code}")

    def _read(self, response: http.client.HTTPResponse) -> None:
        self._record.begin_connection()
        super()._read(response)

    def _report(self, message: dict[str, Any]) -> None:
        self._record.take(message)
