"""The form in which every driver reports what its client was told, and the base of all drivers."""

import abc
import threading
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

PERSONAL = {"task": "tasks", "addressed": "addressed"}
"""Stream to the name under which its events are reported: they have no pattern."""


class Heard(NamedTuple):
    """One event that reached the application."""

    via: str
    """The pattern, or `tasks` or `addressed`."""
    topic: str
    n: int
    """The number in its data."""
    offset: int | None
    is_retained: bool


class Lost(NamedTuple):
    """The client named lost events: these offsets, both included."""

    stream: str
    first: int
    last: int


class NewEpoch(NamedTuple):
    """The client told of another epoch."""


class Refused(NamedTuple):
    """The edge refused a subscription."""

    pattern: str
    code: str


Told: TypeAlias = Heard | Lost | NewEpoch | Refused


class CallRefused(Exception):  # noqa: N818
    """A `publish` or `request` has failed; the argument is its code."""


class Wish(NamedTuple):
    """The wishes of a client."""

    url: str
    """Of `/ws`."""
    token: Callable[[], str]
    """Returns a new token."""
    patterns: tuple[str, ...]
    last: int | None = None


class Driver(abc.ABC):
    """One client, which stays connected until it is closed. It may report from any thread."""

    def __init__(self, wish: Wish) -> None:
        self.wish = wish
        self.told: list[Told] = []
        """In order; of events the order within each `via`."""
        self.closes: list[int] = []
        """The close codes of ended connections."""
        self.connections = 0
        """How often it was live: authenticated, and every subscription answered."""
        self.is_live = False
        self.faults: list[str] = []
        """Faults of the driver itself."""

    def heard(self, via: str) -> list[Heard]:
        """The events that were reported under a name."""
        return [each for each in tuple(self.told) if isinstance(each, Heard) and each.via == via]

    def numbers(self, via: str) -> list[int]:
        """Their numbers."""
        return [each.n for each in self.heard(via)]

    def losses(self) -> list[Lost]:
        """The losses that were named."""
        return [each for each in tuple(self.told) if isinstance(each, Lost)]

    def live(self) -> None:
        """Report that it is live."""
        self.connections += 1
        self.is_live = True

    def lost(self, code: int) -> None:
        """Report that the connection has ended."""
        self.is_live = False
        self.closes.append(code)

    @abc.abstractmethod
    def close(self) -> None:
        """End the client."""


class Calling(Driver):
    """A client that can also publish and request."""

    @abc.abstractmethod
    def publish(self, topic: str, data: Any, username: str | None = None) -> None:
        """Publish an event. Raises `CallRefused`."""

    @abc.abstractmethod
    def request(self, method: str, params: Any) -> Any:
        """Return the result of a method. Raises `CallRefused`."""


class Threaded(Driver):
    """A driver whose client runs in a thread of its own."""

    def __init__(self, wish: Wish) -> None:
        super().__init__(wish)
        self.is_closing = threading.Event()
        self._thread = threading.Thread(target=self._run_safely, name=type(self).__name__)
        self._thread.start()

    @abc.abstractmethod
    def run(self) -> None:
        """Serve one connection after another until `is_closing`."""

    @abc.abstractmethod
    def interrupt(self) -> None:
        """Make `run` look at `is_closing`; called from another thread."""

    def close(self) -> None:
        """See `Driver`."""
        self.is_closing.set()
        self.interrupt()
        self._thread.join(20)
        assert not self._thread.is_alive(), "the driver does not end"

    def _run_safely(self) -> None:
        try:
            self.run()
        except Exception as error:  # noqa: BLE001 - the test must see it
            if not self.is_closing.is_set():
                self.faults.append(repr(error))
