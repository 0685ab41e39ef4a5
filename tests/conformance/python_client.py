"""`edge.client`, as an application uses it."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from edge import client
from edge.client import ConnectionState, Event, EventStream, Forbidden, Gap, Loss, RelayClient
from tests.conformance.told import (
    Calling,
    CallRefused,
    Heard,
    Lost,
    NewEpoch,
    Refused,
    Threaded,
    Wish,
)

T = TypeVar("T")
TIMEOUT_S = 20.0


class PythonClient(Threaded, Calling):
    """One iteration for each pattern, for the tasks, and for addressed events."""

    def __init__(self, wish: Wish) -> None:
        self._loop = asyncio.new_event_loop()
        self._ended = asyncio.Event()
        self._relay: RelayClient | None = None
        self._unsettled = 0
        """Iterations whose subscription is not answered."""
        super().__init__(wish)

    def run(self) -> None:
        """See `Threaded`."""
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._run())

    def interrupt(self) -> None:
        """See `Threaded`."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._ended.set)

    def publish(self, topic: str, data: Any, username: str | None = None) -> None:
        """See `Calling`."""
        assert self._relay is not None
        self._call(self._relay.publish(topic, data, username=username))

    def request(self, method: str, params: Any) -> Any:
        """See `Calling`."""
        assert self._relay is not None
        return self._call(self._relay.request(method, params))

    def _call(self, call: Coroutine[Any, Any, T]) -> T:
        try:
            return asyncio.run_coroutine_threadsafe(call, self._loop).result(TIMEOUT_S)
        except client.RequestFailed as error:
            raise CallRefused(error.code) from None

    async def _run(self) -> None:
        wish = self.wish
        async with client.connect(
            wish.url,
            token=wish.token,
            on_loss=self._on_loss,
            on_state=self._on_state,
            max_delay_s=0.5,
        ) as relay:
            self._relay = relay
            streams = {each: relay.subscribe(each, last=wish.last) for each in wish.patterns}
            streams |= {"tasks": relay.tasks(), "addressed": relay.addressed()}
            async with asyncio.TaskGroup() as tasks:
                self._unsettled = len(streams)
                readers = [tasks.create_task(self._read(*each)) for each in streams.items()]
                await self._ended.wait()
                for reader in readers:
                    reader.cancel()

    def _settled(self) -> None:
        """A client is live without subscriptions; report it when these are answered."""
        self._unsettled -= 1
        if self._unsettled == 0:
            self.live()

    def _on_state(self, state: ConnectionState) -> None:
        if state.name == "live" and self._relay is not None and self._unsettled == 0:
            self.live()
        elif state.name == "waiting":
            self.lost(state.code or 0)

    def _on_loss(self, loss: Loss) -> None:
        if isinstance(loss, Gap):
            self.told.append(Lost(loss.stream, loss.first, loss.last))
        elif isinstance(loss, client.NewEpoch):
            self.told.append(NewEpoch())
        else:
            self.faults.append(str(loss))

    async def _read(self, via: str, stream: EventStream) -> None:
        try:
            async with stream:
                self._settled()
                async for event in stream:
                    self._heard(via, event)
        except Forbidden as refused:
            self.told.append(Refused(via, refused.code))
            self._settled()

    def _heard(self, via: str, event: Event) -> None:
        number = event.data["n"]
        self.told.append(Heard(via, event.topic, number, event.offset, event.retained))
