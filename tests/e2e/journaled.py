"""Reads the events that a relay has journaled and published."""

import json
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import zmq

from relay.journal.file import FILE_NAME
from relay.journal.reader import JournalReader, reading_journal
from relay.shared.transport import Socket, open_socket
from relay.wire.control import (
    HEARTBEAT_TOPIC,
    SYNC_PREFIX,
    Heartbeat,
    unpack_heartbeat,
)
from relay.wire.envelope import unpack_envelope
from relay.wire.header import Stamp, unpack_stamp
from tests.support.cluster import Cluster
from tests.support.processes import run_cli
from tests.support.raw_emitter import RawEmitter
from tests.support.relay_peer import RelayPeer

QUICK = {"RELAY_HEARTBEAT_S": "0.1"}
Start = Callable[..., RawEmitter]


class Subscriber:
    """Receives the messages that the relay publishes on `prefixes` once it is open."""

    def __init__(self, cluster: Cluster, *prefixes: bytes) -> None:
        self._context: zmq.Context[Socket] = zmq.Context()
        self._socket = open_socket(self._context, zmq.SUB)
        self._socket.setsockopt(zmq.RCVHWM, 0)
        nonce = SYNC_PREFIX + secrets.token_hex(8).encode()
        for prefix in (*prefixes, nonce):
            self._socket.subscribe(prefix)
        self._socket.connect(cluster.egress)
        while self._receive()[0] != nonce:
            pass

    def _receive(self) -> list[bytes]:
        assert self._socket.poll(10_000), "nothing is published"
        return self._socket.recv_multipart()

    def event(self) -> tuple[str, Stamp, int]:
        """Return the next event: its topic, its stamp and the number in its data."""
        topic, stamp, envelope = self._receive()
        name = topic.decode()
        data = unpack_envelope(envelope, name.partition(":")[0]).data
        return name, unpack_stamp(stamp), data["n"]

    def heartbeat(self) -> tuple[Stamp, Heartbeat]:
        """Return the next heartbeat."""
        topic, stamp, body = self._receive()
        assert topic == HEARTBEAT_TOPIC
        return unpack_stamp(stamp), unpack_heartbeat(body)

    def close(self) -> None:
        self._context.destroy(linger=0)


@contextmanager
def inspecting(cluster: Cluster) -> Iterator[JournalReader]:
    with reading_journal(Path(cluster.env["RELAY_DATA_DIR"]) / FILE_NAME) as reader:
        yield reader


def journaled(peer: RelayPeer, stream: str = "event") -> list[tuple[int, int]]:
    """Return (offset, number) of each event in the journal."""
    return [
        (unpack_stamp(stamp).offset, unpack_envelope(envelope, stream).data["n"])
        for page in peer.replay(stream)
        for _, stamp, envelope in page.items
    ]


def same_numbers(count: int, first: int = 1) -> list[tuple[int, int]]:
    """Return (offset, number) of events whose offset is their number."""
    return [(number, number) for number in range(first, count + 1)]


def shown_stats(cluster: Cluster) -> dict[str, Any]:
    """Return the output of `event-relay stats`."""
    ended = run_cli("relay", "stats", env=cluster.env)
    assert ended.returncode == 0, ended.stderr
    shown: dict[str, Any] = json.loads(ended.stdout)
    return shown
