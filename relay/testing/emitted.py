"""`EmittedEvents`: the events that a relay passes on during a test, in their order."""

import time
from typing import Any, NamedTuple

from emitters.relay_reader import RelayedEvent, RelayReader
from relay.wire.topics import Pattern, parse_pattern

TIMEOUT_S = 10.0
QUIET_S = 0.3


class EmittedEvent(NamedTuple):
    """One event as the relay passed it on."""

    topic: str
    data: Any
    username: str | None
    """The user to whom alone it goes."""
    type: str
    source: str


class EmittedEvents:
    """Watches a relay, and returns each event once to those who wait for it.

    It sees all topics, also events for one user. A live topic counts as watched, so that its values
    are sent.
    """

    def __init__(self, egress: str) -> None:
        self._reader = RelayReader(egress, "")
        self.all: list[EmittedEvent] = []
        """Every event so far, as far as a call has looked."""
        self._new: list[tuple[str, EmittedEvent]] = []
        """The events that no call has returned, with the topic as it is on the wire."""
        if not self._reader.wait_subscribed(TIMEOUT_S):
            self.close()
            raise AssertionError(f"no relay at {egress}")

    def __call__(self, topic: str, timeout: float = TIMEOUT_S) -> Any:
        """Return the data of the next event on `topic`, which may be a prefix such as `order:*`.

        Events on other topics stay for later calls. Raises `AssertionError` if there is none within
        `timeout` seconds, and `InvalidTopic`.
        """
        return self.event(topic, timeout).data

    def event(self, topic: str, timeout: float = TIMEOUT_S) -> EmittedEvent:
        """Return the next event on `topic`, with its user and source; see `__call__`."""
        event = self._next(parse_pattern(topic), timeout)
        if event is None:
            raise AssertionError(
                f"no event on {topic} within {timeout} s; there were {self._seen()}"
            )
        return event

    def none(self, topic: str, within: float = QUIET_S) -> None:
        """Raise `AssertionError` if an event on `topic` is there, or comes within so many seconds.

        Nobody can wait for an event that does not come: it is better to wait for a later event
        first, and to call this with 0 then.
        """
        event = self._next(parse_pattern(topic), within)
        if event is not None:
            raise AssertionError(f"unexpected event on {event.topic}: {event.data!r}")

    def close(self) -> None:
        """Watch no more."""
        self._reader.close()

    def _next(self, pattern: Pattern, timeout: float) -> EmittedEvent | None:
        give_up_at = time.monotonic() + timeout
        while True:
            self._take()
            for index, (wire_topic, event) in enumerate(self._new):
                if pattern.matches(wire_topic):
                    del self._new[index]
                    return event
            left_s = give_up_at - time.monotonic()
            if left_s <= 0:
                return None
            self._reader.wait(left_s)

    def _take(self) -> None:
        for each in self._reader.read():
            event = _event(each)
            self.all.append(event)
            self._new.append((each.topic.subject, event))

    def _seen(self) -> str:
        return ", ".join(dict.fromkeys(each.topic for each in self.all)) or "none at all"


def _event(relayed: RelayedEvent) -> EmittedEvent:
    envelope = relayed.envelope
    return EmittedEvent(
        relayed.topic.shown, envelope.data, envelope.username, envelope.type, envelope.source
    )
