"""`EventStream`: the events of one subscription, queued for the application that iterates."""

import asyncio
import weakref
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Self

from edge.client.core.errors import ClientError
from edge.client.core.messages import Event


class EventBuffer:
    """The queue between the connection and one iteration.

    It takes whatever comes, and the client stops reading its connection while `is_full`. So the
    queue holds at most one message more than its bound; the answer to `last` may be further ones.
    """

    def __init__(self, max_events: int, max_bytes: int, on_read: Callable[[], None]) -> None:
        """`on_read` is called for each event that the application has read."""
        self.is_confirmed = False
        self.size_of_next = 0
        """Bytes of the message that is dealt with now."""
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._on_read = on_read
        self._items: deque[tuple[Event | ClientError, int]] = deque()
        self._bytes = 0
        self._is_ended = False
        self._end: ClientError | None = None
        self._changed = asyncio.Event()

    @property
    def is_full(self) -> bool:
        """Whether the application must read before more may come."""
        return len(self._items) >= self._max_events or self._bytes >= self._max_bytes

    def confirmed(self) -> None:
        """See `Sink`."""
        self.is_confirmed = True
        self._changed.set()

    def event(self, event: Event) -> None:
        """See `Sink`."""
        self._put(event, self.size_of_next)

    def problem(self, error: ClientError) -> None:
        """See `Sink`."""
        self._put(error, 0)

    def end(self, error: ClientError | None) -> None:
        """Nothing more comes: after the queued events the iteration ends, or raises `error`."""
        self._is_ended, self._end = True, error
        self._changed.set()

    async def wait_confirmed(self) -> None:
        """Wait until the edge has granted the subscription; raise the error if it refuses."""
        while not self.is_confirmed:
            if self._items and isinstance(error := self._items[0][0], ClientError):
                self._take()
                raise error
            if self._is_ended:
                raise self._end or ClientError("the client is closed")
            await self._wait()

    async def get(self) -> Event:
        """Return the next event; raise what takes its place."""
        while not self._items:
            if self._is_ended and self._end is None:
                raise StopAsyncIteration
            if self._end is not None:
                raise self._end
            await self._wait()
        item = self._take()
        if isinstance(item, Event):
            return item
        raise item

    def _put(self, item: Event | ClientError, size: int) -> None:
        self._items.append((item, size))
        self._bytes += size
        self._changed.set()

    def _take(self) -> Event | ClientError:
        item, size = self._items.popleft()
        self._bytes -= size
        self._on_read()
        return item

    async def _wait(self) -> None:
        self._changed.clear()
        await self._changed.wait()


class EventStream:
    """An asynchronous iterator of events.

    The subscription ends with `close()`, at the end of `async with`, or when nobody has the object
    any more, as after `break` in `async for event in relay.subscribe(…)`. `async with` first waits
    until the edge has granted the subscription.

    The iteration raises `EventsLost` in the place of lost events, and `RequestRefused` if the edge
    refuses the subscription; it may go on after both.
    """

    def __init__(self, buffer: EventBuffer, close: Callable[[], None]) -> None:
        """`close` ends the subscription; it may be called from any thread, and more than once."""
        self._buffer = buffer
        self._close = weakref.finalize(self, close)
        self._close.atexit = False

    def close(self) -> None:
        """End the subscription. Events that have arrived can still be read."""
        self._close()
        self._buffer.end(None)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        return await self._buffer.get()

    async def __aenter__(self) -> Self:
        try:
            await self._buffer.wait_confirmed()
        except BaseException:
            self.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
