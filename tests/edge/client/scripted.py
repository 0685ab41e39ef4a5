"""A conversation with an edge in memory that a test controls."""

from collections.abc import Iterable
from typing import Any

from edge.client.core.conversation import ClientRequest, Conversation
from edge.client.core.errors import ClientError, RequestRefused
from edge.client.core.messages import ConnectionState, Event, Loss
from edge.client.core.subscriptions import Sink

EPOCH = 1
URL = "ws://edge/ws"


class Recorder:
    """A sink that keeps everything."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.errors: list[ClientError] = []
        self.confirmations = 0

    @property
    def offsets(self) -> list[int | None]:
        return [event.offset for event in self.events]

    def confirmed(self) -> None:
        self.confirmations += 1

    def event(self, event: Event) -> None:
        self.events.append(event)

    def problem(self, error: ClientError) -> None:
        self.errors.append(error)


class ScriptedEdge:
    """The edge's side, and the observer of the client."""

    def __init__(self, *, has_fresh_tokens: bool = True) -> None:
        self.talk = Conversation(URL, self, max_delay_s=3.0, has_fresh_tokens=has_fresh_tokens)
        self.now = 0.0
        self.requests: list[ClientRequest] = []
        """Requests that the edge has not taken."""
        self.states: list[ConnectionState] = []
        self.losses: list[tuple[Loss, list[Sink]]] = []
        self.failures: list[RequestRefused] = []

    def state_changed(self, state: ConnectionState) -> None:
        self.states.append(state)

    def lost(self, loss: Loss, sinks: Iterable[Sink]) -> None:
        self.losses.append((loss, list(sinks)))

    def failed(self, error: RequestRefused) -> None:
        self.failures.append(error)

    def open(self) -> None:
        """Open a connection; its `authenticate` is the first request."""
        self.requests.clear()
        self.talk.connecting()
        self.talk.opened("token", self.now)
        self.read()

    def admit(self, **fields: Any) -> None:
        """Open a connection and answer everything."""
        self.open()
        self.answer(username="alice", **fields)
        self.answer_all()

    def drop(self, code: int = 1006, reason: str = "") -> float | None:
        """End the connection; return the delay, which chance makes the longest possible."""
        self.requests.clear()
        return self.talk.lost(code, reason, lambda: 1.0)

    def read(self) -> list[ClientRequest]:
        """Read the client's requests."""
        self.requests += self.talk.take_requests(self.now)
        return self.requests

    def say(self, **message: Any) -> None:
        """Send a message."""
        self.talk.received(message, self.now)
        self.read()

    def answer(self, **fields: Any) -> ClientRequest:
        """Answer the next request with a success, unless `fields` say otherwise."""
        request = self.read().pop(0)
        self.say(
            **({"status": "success", "action": request["action"], "id": request["id"]} | fields)
        )
        return request

    def answer_all(self, **fields: Any) -> None:
        """Answer every request."""
        while self.read():
            self.answer(**fields)

    def event(self, topic: str, offset: int | None = None, **fields: Any) -> None:
        """Send an event."""
        numbered = {} if offset is None else {"offset": offset}
        self.say(**({"type": "event", "topic": topic, "data": {}} | numbered | fields))

    def subscribe(self, pattern: str, position: int = 0, last: int | None = None) -> Recorder:
        """Subscribe, and confirm it at a position of the stream `event`."""
        sink = Recorder()
        self.talk.subscribe(pattern, sink, last)
        self.answer_all(epoch=EPOCH, position={"event": position})
        return sink
