"""Event Relay: relay with journal and edge as users run them, and an `Emitter` that publishes."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

import orjson

from bench.load.dialect import PlainDialect, Reaction, opening
from bench.load.payload import TOPIC, event_data
from bench.load.publisher import Send
from bench.peers.peer import Server
from emitters import Emitter
from tests.support.cluster import Cluster, Edge
from tests.support.keys import Keys
from tests.support.websocket_frames import TEXT, client_frame

CONNECT_TIMEOUT_S = 10.0
EMITTER = "bench"
"""As long as the `source` of the peers' events."""
PEERS = {EMITTER: "emitter", "edge": "edge", "rogue-emitter": "emitter", "rogue-edge": "edge"}
"""Name and role of each peer in a list of peers."""
NOTHING: Mapping[str, str] = {}

Groups = tuple[tuple[str, ...], ...]
"""The subscriptions of each group of clients."""


class EdgeDialect(PlainDialect):
    """Gives each client a token of its own and the subscriptions of its group."""

    def __init__(self, port: int, tokens: tuple[str, ...], groups: Groups) -> None:
        super().__init__(port, "/ws")
        self.ready_signs = len(groups[0])
        self._tokens = tokens
        self._groups = groups

    def opening(self, client: int) -> bytes:
        """See `Dialect`."""
        token = self._tokens[client]
        return opening(self.port, self._path, f"Authorization: Bearer {token}\r\n")

    def first(self, client: int) -> bytes:
        """See `Dialect`."""
        requests = (
            orjson.dumps({"action": "subscribe", "topic": topic})
            for topic in self._groups[client % len(self._groups)]
        )
        return b"".join(client_frame(TEXT, request) for request in requests)

    def event(self, payload: bytes) -> bytes | None:
        """See `Dialect`."""
        return payload if payload.startswith(b'{"type":"event"') else None

    def react(self, payload: bytes) -> Reaction:
        """See `Dialect`."""
        return Reaction(is_ready_sign=payload.startswith(b'{"status":"success"'))


@dataclass(frozen=True)
class Running:
    """A running relay and a running edge."""

    cluster: Cluster
    edge: Edge
    pids: Mapping[str, int]
    keys: Keys | None = None
    """Those of `PEERS`, if the relay has a list of them."""

    def server(
        self, clients: int, topics: tuple[str, ...], groups: Groups, padding: int = 0
    ) -> Server:
        """Return a server for `clients` clients in `groups`, with events of `topics` in turn."""
        sender = self.sender(topics, padding=padding)
        return Server(self.dialect(clients, groups), sender, self.pids)

    def dialect(self, clients: int, groups: Groups) -> EdgeDialect:
        """Return a dialect for clients that are a user each, with tokens made now."""
        tokens = tuple(self.cluster.token(f"user-{number}") for number in range(clients))
        return EdgeDialect(self.edge.port, tokens, groups)

    def sender(
        self, topics: tuple[str, ...], name: str = EMITTER, padding: int = 0
    ) -> Callable[[], Send]:
        """Return a sender for a publisher named `name`: event n goes to topic n % topics.

        Each event is `padding` bytes longer than necessary.
        """
        places = (self.cluster.ingress, self.cluster.control)
        keys = self.keys.env("EMITTER", EMITTER) if self.keys else {}
        return partial(_make_send, places, topics, name, "x" * padding, keys)


@contextmanager
def run_relay_and_edge(
    directory: Path, env: Mapping[str, str] = NOTHING, *, keyed: bool = False
) -> Iterator[Running]:
    """Run relay and edge, with a key for each of `PEERS` if `keyed`; `env` is for the edge."""
    cluster = Cluster(directory)
    keys = _use_keys(cluster) if keyed else None
    try:
        relay = cluster.start_relay()
        cluster.env.update(env)
        edge = cluster.start_edge(EDGE_WORKERS=env.get("EDGE_WORKERS", "1"))
        yield Running(cluster, edge, {"relay": relay.pid, "edge": edge.process.pid}, keys)
    finally:
        cluster.close()


def _use_keys(cluster: Cluster) -> Keys:
    keys = Keys(cluster.directory, *PEERS)
    cluster.env |= keys.relay_env() | keys.env("EDGE", "edge")
    cluster.configure(
        "\n".join(
            f'[peers.{name}]\nrole = "{role}"\nkey = "{keys.public(name)}"\npublish = ["event:*"]'
            for name, role in PEERS.items()
        )
    )
    return keys


class EventRelay:
    """`workers` edge processes on one port; event n goes to topic n % topics."""

    name = "Event Relay"

    def __init__(
        self,
        *,
        workers: int = 1,
        topics: tuple[str, ...] = (TOPIC,),
        groups: Groups = ((TOPIC,),),
    ) -> None:
        self._topics = topics
        self._groups = groups
        self._workers = workers

    def missing(self) -> str | None:
        """See `Peer`."""
        return None

    def version(self) -> str:
        """See `Peer`."""
        return version("event-relay")

    @contextmanager
    def run(self, directory: Path, clients: int) -> Iterator[Server]:
        """See `Peer`."""
        with run_relay_and_edge(directory, {"EDGE_WORKERS": str(self._workers)}) as running:
            yield running.server(clients, self._topics, self._groups)


def _make_send(
    places: tuple[str, str],
    topics: tuple[str, ...],
    name: str,
    padding: str,
    keys: Mapping[str, str],
) -> Send:
    os.environ.update(keys)
    ingress, control = places
    emitter = Emitter(name=name, ingress=ingress, control=control)
    assert emitter.wait_connected(CONNECT_TIMEOUT_S), "the emitter does not reach the relay"

    def send(number: int) -> None:
        data = event_data(number) | ({"padding": padding} if padding else {})
        emitter.emit(topics[number % len(topics)], data)

    return send
