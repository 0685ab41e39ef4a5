"""Rounds in which the relay's journal is damaged between `kill -9` and the next start.

Acknowledged events may be lost then. These promises remain, whatever was damaged: the journal has
no event twice; under the present epoch each client has exactly the events that the journal has
behind the client's place, except rows that the relay reports as damaged; and the journal has every
event that was accepted after the last damage.
"""

import random
from array import array
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgpack

from relay.wire.control import ReplayReply, ReplayRequest
from relay.wire.header import unpack_stamp
from tests.e2e.chaos.journal_reader import STREAMS
from tests.e2e.chaos.judge import Address, JournalStream, Watcher, address_problems, expected
from tests.e2e.chaos.lives import EMITTERS, EVENTS_PER_S, LoadEmitter
from tests.e2e.chaos.traffic import TOPICS, USERS, route
from tests.support.cluster import Cluster
from tests.support.processes import ManagedProcess
from tests.support.relay_peer import RelayPeer
from tests.support.swarm import Swarm
from tests.support.swarm_client import SwarmClient
from tests.support.swarm_record import Message, Record, StreamRecord, payload_key, split_key
from tests.support.waiting import wait_for

EDGE_SETTINGS = {"EDGE_POSITION_INTERVAL_S": "0.5"}
"""Positions move on soon past events that are not for a client."""
LOAD_EVENTS = 400
RATE = EVENTS_PER_S / EMITTERS
"""Events that every emitter has emitted between two damages."""
RECOVERY_S = 60.0
PAYLOAD = b"x" * 40
"""A part of every event's text."""


class EpochRecord(Record):
    """Keeps the events of the newest epoch only."""

    def take(self, message: Message) -> None:
        """Record one message of the edge."""
        epoch, place = message.get("epoch"), message.get("position")
        if epoch is not None and place is not None and self.epoch not in (None, epoch):
            self.streams.clear()
            self.gaps.clear()
            self.positions.clear()
            self.personal_starts.clear()
            # Without places, the replies to the subscriptions say where they begin.
            self._since = {}
            is_live = message.get("type") == "position" and "event" in place
            self.starts = {pattern: dict(place) for pattern in self.patterns if is_live}
        super().take(message)


def remove_log(directory: Path, _: random.Random) -> None:
    """The write-ahead log is gone."""
    for suffix in ("-wal", "-shm"):
        (directory / f"journal.db{suffix}").unlink(missing_ok=True)


def cut_log(directory: Path, chance: random.Random) -> None:
    """The write-ahead log ends early."""
    log = directory / "journal.db-wal"
    if log.exists():
        with log.open("r+b") as file:
            file.truncate(int(log.stat().st_size * chance.uniform(0.1, 0.95)))


def flip_log(directory: Path, chance: random.Random) -> None:
    """One byte of the write-ahead log is another."""
    log = directory / "journal.db-wal"
    if log.exists() and (size := log.stat().st_size):
        with log.open("r+b") as file:
            place = chance.randrange(size)
            file.seek(place)
            byte = file.read(1)[0]
            file.seek(place)
            file.write(bytes([byte ^ 0x10]))


def damage_row(directory: Path, chance: random.Random) -> None:
    """The payload of one event in the file is another: pages, and all else, are whole."""
    journal = directory / "journal.db"
    content = journal.read_bytes()
    if places := list(_places(content)):
        with journal.open("r+b") as file:
            file.seek(chance.choice(places))
            file.write(b"y" * len(PAYLOAD))


def _without(record: StreamRecord, lost: set[int]) -> StreamRecord:
    """Leave out the events of damaged rows: a client may have got them before the damage."""
    kept = [number for number, offset in enumerate(record.offsets) if offset not in lost]
    rest = StreamRecord()
    rest.offsets = array("Q", (record.offsets[number] for number in kept))
    rest.keys = array("Q", (record.keys[number] for number in kept))
    return rest


DAMAGES: tuple[Callable[[Path, random.Random], None], ...] = (
    remove_log,
    cut_log,
    flip_log,
    damage_row,
)


def _places(content: bytes) -> Iterator[int]:
    place = content.find(PAYLOAD)
    while place >= 0:
        yield place
        place = content.find(PAYLOAD, place + 4096)


class DamageRound:
    """A relay, an edge, two emitters and some clients; `run` damages the journal several times."""

    def __init__(self, seed: int, directory: Path) -> None:
        self._random = random.Random(seed)
        self._stack = ExitStack()
        self.log: list[str] = []
        self.cluster: Cluster = self._opened(Cluster(directory))
        self._peer = self._opened(RelayPeer(self.cluster.control))
        self._swarm = self._opened(Swarm())
        self._relay = self.cluster.start_relay()
        self._edge = self.cluster.start_edge(**EDGE_SETTINGS)
        self._swarm.add(self._clients())
        self._settle()
        self._emitters = [LoadEmitter(self.cluster, directory, index, RATE, {}) for index in (0, 2)]

    def run(self) -> list[str]:
        """Damage the journal in each way, in random order; return the problems."""
        damages = list(DAMAGES)
        self._random.shuffle(damages)
        directory = Path(self.cluster.env["RELAY_DATA_DIR"])
        for damage in damages:
            self._load()
            self._relay.kill()
            damage(directory, self._random)
            self.log.append(damage.__name__)
            self._relay = self._restarted_relay(directory)
            self._settle()
        accepted_before = {emitter.name: emitter.accepted() for emitter in self._emitters}
        self._load()
        for emitter in self._emitters:
            emitter.finish()
        journal, lost = self._read_journal()
        self._wait_for_clients({name: stream.offsets[-1] for name, stream in journal.items()})
        problems = [*self._journal_problems(journal, accepted_before)]
        problems += address_problems(journal, route)
        for client in self._swarm.clients:
            problems += self._client_problems(journal, lost, client)
        return problems

    def _wait_for_clients(self, tips: dict[str, int]) -> None:
        def are_at_tips() -> bool:
            return all(
                c.is_settled and all(c.record.positions[name] >= tips[name] for name in tips)
                for c in self._swarm.clients
            )

        wait_for(are_at_tips, "every client is at the tips", RECOVERY_S)

    def _restarted_relay(self, directory: Path) -> ManagedProcess:
        """Start the relay; move a journal away that it refuses, as it says."""
        try:
            return self.cluster.start_relay()
        except AssertionError as refused:
            if "move it away to begin a new journal" not in str(refused):
                raise
        self.log.append("moved away")
        for file in directory.glob("journal.db*"):
            file.rename(file.with_name(f"refused-{file.name}"))
        return self.cluster.start_relay()

    def close(self) -> None:
        """End everything."""
        self._stack.close()

    def _opened(self, part: Any) -> Any:
        self._stack.callback(part.close)
        return part

    def _clients(self) -> list[SwarmClient]:
        patterns = [("event:*",), ("event:backup_*",), (TOPICS[0], TOPICS[3])] * 2
        return [
            SwarmClient(
                f"client-{number}",
                self._edge.port,
                self.cluster.token(USERS[number], ttl_s=86400),
                EpochRecord(each),
                username=USERS[number],
            )
            for number, each in enumerate(patterns)
        ]

    def _settle(self) -> None:
        """Wait until every client is subscribed under the relay's epoch."""

        def is_settled() -> bool:
            epoch = self._page("event", 0).epoch
            return all(c.is_settled and c.record.epoch == epoch for c in self._swarm.clients)

        wait_for(is_settled, "every client is under the present epoch", RECOVERY_S)

    def _load(self) -> None:
        until = [emitter.accepted() + LOAD_EVENTS for emitter in self._emitters]
        for emitter, number in zip(self._emitters, until, strict=True):
            wait_for(lambda e=emitter, n=number: e.accepted() >= n, f"{emitter.name} emits")  # type: ignore[misc]

    def _page(self, stream: str, after: int) -> ReplayReply:
        page = self._peer.ask(ReplayRequest(id=1, stream=stream, after=after))
        assert isinstance(page, ReplayReply), page
        return page

    def _read_journal(self) -> tuple[dict[str, JournalStream], dict[str, set[int]]]:
        """Return the events of each stream, and the offsets of its damaged rows."""
        read = {name: self._read_stream(name) for name in STREAMS}
        return (
            {name: stream for name, (stream, _) in read.items()},
            {name: lost for name, (_, lost) in read.items()},
        )

    def _read_stream(self, name: str) -> tuple[JournalStream, set[int]]:
        stream, lost, after = JournalStream(), set(), 0
        while (page := self._page(name, after)).items:
            for topic, stamp, envelope in page.items:
                after = unpack_stamp(stamp).offset
                if not topic:
                    lost.add(after)
                    continue
                unpacked = msgpack.unpackb(envelope)
                key = payload_key(unpacked["data"]["run"], unpacked["data"]["n"])
                stream.add(after, key, Address(topic.decode(), unpacked.get("username")))
        return stream, lost

    def _journal_problems(
        self, journal: dict[str, JournalStream], before: dict[str, int]
    ) -> Iterator[str]:
        keys = [key for stream in journal.values() for key in stream.keys]
        if len(set(keys)) < len(keys):
            yield "the journal has an event twice"
        found: dict[int, set[int]] = {}
        for name, stream in journal.items():
            last: dict[int, int] = {}
            for run, number in map(split_key, stream.keys):
                found.setdefault(run, set()).add(number)
                if number < last.get(run, 0):
                    yield f"{name}: run {run} is out of order"
                last[run] = number
        for emitter in self._emitters:
            life = emitter.runs[-1]
            due = set(range(before[emitter.name] + 1, life.recorded + 1))
            if missing := sorted(due.difference(found.get(life.id, ()))):
                yield f"{emitter.name}: {len(missing)} missing after the last damage: {missing[:5]}"

    def _client_problems(
        self, journal: dict[str, JournalStream], lost: dict[str, set[int]], client: SwarmClient
    ) -> Iterator[str]:
        record = client.record
        for name, stream in journal.items():
            due = expected(name, stream, Watcher(client.name, client.username, record))
            got = _without(record.streams.get(name, StreamRecord()), lost[name])
            if (got.offsets, got.keys) != (due.offsets, due.keys):
                missing = sorted(set(due.offsets) - set(got.offsets))
                more = sorted(set(got.offsets) - set(due.offsets))
                in_order = got.offsets == array("Q", sorted(got.offsets))
                yield (
                    f"{client.name}: {name}: {len(got)} of {len(due)} events,"
                    f" missing {missing[:5]}, not due {more[:5]}, in order: {in_order}"
                )
        for gap in record.gaps:
            damaged = lost[gap["stream"]]
            if not damaged.issuperset(range(gap["from"], gap["to"] + 1)):
                yield f"{client.name}: was told {gap}, but lost are {sorted(damaged)[:5]}"
        yield from (f"{client.name}: {error}" for error in record.errors)
