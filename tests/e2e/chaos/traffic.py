"""The events that are emitted, and the subscriptions of the clients.

Each emitter goes through the same table of routes from an index of its own, so that each topic
gets events of all emitters. The rates in the comments are for 2,000 events/s together.
"""

from typing import NamedTuple

USERS = tuple(f"user-{number}" for number in range(8))
TOPICS = tuple(f"event:{kind}_{number}" for kind in ("backup", "server") for number in range(4))
TEXT = "x" * 60
"""The text that makes an envelope as long as usual ones, 150 to 200 bytes."""
LONG_TEXT = "x" * 4000
LONG_EVERY = 11
"""One event in `LONG_EVERY` is long, so that the buffers of a stalled client fill up."""

RUNS_PER_EMITTER = 1000
"""A run is one life of an emitter; `emitter * RUNS_PER_EMITTER + life`."""


class Route(NamedTuple):
    """The topic and the addressee of an event."""

    topic: str
    username: str | None
    """The addressee; None for all subscribers."""

    @property
    def wire_topic(self) -> str:
        """The topic in the journal: events for one user, other than tasks, are in a stream."""
        if self.username is None or self.topic.startswith("task:"):
            return self.topic
        return f"addressed:{self.topic}"


def _routes() -> tuple[Route, ...]:
    """70% for everybody (175/s a topic), 10% events for one user, 20% tasks (50/s a user)."""
    routes = []
    for user in range(8):
        routes += [Route(TOPICS[(user + step) % 8], None) for step in range(7)]
        routes += [Route(TOPICS[user], USERS[user])]
        routes += [Route(f"task:of-{USERS[user]}-{number}", USERS[user]) for number in range(2)]
    return tuple(routes)


ROUTES = _routes()
_STRIDE = 37
"""Coprime to the number of routes, so that each route is used."""


def route(run: int, number: int) -> Route:
    """Return the route of event `number` of `run`."""
    return ROUTES[(number * _STRIDE + run * 11) % len(ROUTES)]


def payload(run: int, number: int, topic: str) -> dict[str, object]:
    """Return the `data` of an event."""
    text = TEXT if number % LONG_EVERY else LONG_TEXT
    data: dict[str, object] = {"run": run, "n": number, "text": text}
    if topic.startswith("task:"):
        data["status"] = "in_progress"
    return data


class Subscriber(NamedTuple):
    """A kind of client. Each client also gets its user's tasks, and the events for that user."""

    patterns: tuple[str, ...]
    role: str = "user"
    reads_slowly: bool = False
    """Whether it has a small receive buffer and may be told to stop reading."""
    runs_in: str = ""
    """`python`, `node` or `event stream` for a client that applications use.

    The first two have one pattern at most.
    """


OURS = ("python", "node", "event stream")


def population() -> list[Subscriber]:
    """The 50 clients: about 20,000 deliveries/s together, 3,750 of them for their user alone."""
    clients = [Subscriber(("*",), reads_slowly=True) for _ in range(4)]  # 1,400/s each
    clients += [Subscriber(("*",), role="admin")]
    clients += [Subscriber((f"event:{kind}_*",)) for kind in ("backup", "server") * 3]  # 700/s
    clients += [Subscriber(("event:backup_*",), runs_in=each) for each in OURS]
    clients += [Subscriber((TOPICS[number % 8],)) for number in range(16)]  # 175/s
    clients += [Subscriber((TOPICS[4],), runs_in=each) for each in ("python", "node") * 2]
    # An event that several of its subscriptions match must arrive once.
    clients += [Subscriber(("event:server_*", TOPICS[5], TOPICS[0])) for _ in range(2)]
    clients += [Subscriber(("event:server_*", TOPICS[5], TOPICS[0]), runs_in="event stream")]
    clients += [Subscriber(()) for _ in range(10)]  # what is for their user alone
    clients += [Subscriber((), runs_in=each) for each in ("python", "python", "event stream")]
    return clients
