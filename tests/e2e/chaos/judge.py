"""Compares the emitters' accepted events, the journal, and the events that each client received.

Without I/O: each function returns the problems as sentences, an empty list without any. The rules
of permission are written here a second time, independent of the edge.
"""

from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress, pairwise
from typing import NamedTuple

from tests.e2e.chaos.traffic import Route
from tests.support.swarm_record import PERSONAL_STREAMS, Record, StreamRecord, split_key

SHOWN = 5
"""The number of differences that are listed; the rest is counted."""


class Address(NamedTuple):
    """The topic and the addressee of an event."""

    topic: str
    username: str | None


@dataclass
class JournalStream:
    """One stream of the journal, event by event."""

    offsets: "array[int]" = field(default_factory=lambda: array("Q"))
    keys: "array[int]" = field(default_factory=lambda: array("Q"))
    addresses: list[Address] = field(default_factory=list)

    def add(self, offset: int, key: int, address: Address) -> None:
        """Append one event."""
        self.offsets.append(offset)
        self.keys.append(key)
        self.addresses.append(address)

    def __len__(self) -> int:
        return len(self.offsets)


Journal = Mapping[str, JournalStream]
"""Stream name to its events."""


@dataclass(frozen=True)
class Run:
    """One life of an emitter."""

    id: int
    emitter: str
    recorded: int
    """The number of `emit` calls that returned, as the emitter recorded it."""
    killed: bool
    """If True, one more event may have been accepted than was recorded."""


@dataclass(frozen=True)
class Watcher:
    """One client: its name, its user and its record."""

    name: str
    username: str
    record: Record


def journal_problems(journal: Journal, runs: Sequence[Run]) -> list[str]:
    """The journal has the offsets 1, 2, 3… and each run's events once, in order, and no others."""
    problems = []
    for name, stream in journal.items():
        if stream.offsets != array("Q", range(1, len(stream) + 1)):
            problems.append(f"journal, {name}: the offsets are not 1 to {len(stream)}")
    numbers: dict[int, list[int]] = {run.id: [] for run in runs}
    for name, stream in journal.items():
        last: dict[int, int] = {}
        for offset, key in zip(stream.offsets, stream.keys, strict=True):
            run_id, number = split_key(key)
            if run_id not in numbers:
                problems.append(f"journal, {name} {offset}: run {run_id} was never started")
                continue
            numbers[run_id].append(number)
            if number <= last.get(run_id, 0):
                problems.append(
                    f"journal, {name} {offset}: number {number} of run {run_id}"
                    f" comes after number {last[run_id]}"
                )
            last[run_id] = number
        problems += _order_of_runs(name, stream, runs)
    for run in runs:
        problems += _run_problems(run, sorted(numbers[run.id]))
    return problems


def address_problems(journal: Journal, route: Callable[[int, int], Route]) -> list[str]:
    """Each event is in the stream where it belongs, with the topic and the user of its `emit`.

    `route` returns those of an event, from its run and its number.
    """
    problems = []
    for name, stream in journal.items():
        for offset, key, address in zip(stream.offsets, stream.keys, stream.addresses, strict=True):
            emitted = route(*split_key(key))
            right = Address(emitted.wire_topic, emitted.username)
            if address != right or not address.topic.startswith(f"{name}:"):
                problems.append(f"journal, {name} {offset}: {address}, but was emitted as {right}")
    return problems[:SHOWN]


def _order_of_runs(name: str, stream: JournalStream, runs: Sequence[Run]) -> Iterator[str]:
    """The events of one life of an emitter all precede those of its next life."""
    emitter_of = {run.id: run.emitter for run in runs}
    newest: dict[str, int] = {}
    for offset, key in zip(stream.offsets, stream.keys, strict=True):
        run_id, _ = split_key(key)
        emitter = emitter_of.get(run_id, "")
        if run_id < newest.get(emitter, 0):
            yield f"journal, {name} {offset}: run {run_id} comes after run {newest[emitter]}"
            return
        newest[emitter] = run_id


def _run_problems(run: Run, numbers: list[int]) -> Iterator[str]:
    count = len(numbers)
    if numbers != list(range(1, count + 1)):
        missing = sorted(set(range(1, run.recorded + 1)) - set(numbers))
        twice = sorted({one for one, two in pairwise(numbers) if one == two})
        yield f"run {run.id}: missing {_shown(missing)}, in the journal twice {_shown(twice)}"
    most = run.recorded + 1 if run.killed else run.recorded
    if not run.recorded <= count <= most:
        yield f"run {run.id}: {run.recorded} were taken, {count} are in the journal"


def watcher_problems(journal: Journal, watcher: Watcher, epoch: int) -> list[str]:
    """The client received exactly its permitted events, once and in order, from its start."""
    record = watcher.record
    problems = list(record.errors)
    if record.epochs != {epoch}:
        problems.append(f"was told the epochs {record.epochs}, the journal has {epoch}")
    if record.recovered[False]:
        problems.append(f"was told recovered:false {record.recovered[False]} times")
    problems += [f"was told {gap}" for gap in record.gaps]
    for name, stream in journal.items():
        problems += _stream_problems(name, stream, watcher)
    problems += [f"got events of {name}" for name in record.streams if name not in journal]
    return [f"{watcher.name} ({watcher.username}): {problem}" for problem in problems]


def expected(name: str, stream: JournalStream, watcher: Watcher) -> StreamRecord:
    """Return the events of a stream that `watcher` should have received."""
    starts = {address: _start(name, address, watcher) for address in set(stream.addresses)}
    selected = [
        (start := starts[address]) is not None and offset > start
        for offset, address in zip(stream.offsets, stream.addresses, strict=True)
    ]
    due = StreamRecord()
    due.offsets = array("Q", compress(stream.offsets, selected))
    due.keys = array("Q", compress(stream.keys, selected))
    return due


def _start(name: str, address: Address, watcher: Watcher) -> int | None:
    """Return the offset after which `watcher` gets events with `address`; None if never."""
    if address.username not in (None, watcher.username):
        return None
    if name in PERSONAL_STREAMS:
        return watcher.record.personal_starts[name] if address.username is not None else None
    return min(
        (
            start[name]
            for pattern, start in watcher.record.starts.items()
            if _matches(pattern, address.topic)
        ),
        default=None,
    )


def _matches(pattern: str, topic: str) -> bool:
    return topic.startswith(pattern[:-1]) if pattern.endswith("*") else topic == pattern


def _stream_problems(name: str, stream: JournalStream, watcher: Watcher) -> list[str]:
    due = expected(name, stream, watcher)
    got = watcher.record.streams.get(name, StreamRecord())
    if got.offsets != due.offsets:
        return _differences(name, due.offsets, got.offsets)
    return [
        f"{name} {offset}: the payload is {split_key(key)}, in the journal {split_key(right)}"
        for offset, key, right in zip(due.offsets, got.keys, due.keys, strict=True)
        if key != right
    ][:SHOWN]


def _differences(name: str, due: "array[int]", got: "array[int]") -> list[str]:
    """Describe the differences between the received offsets `got` and the expected ones `due`."""
    seen, wanted = set(got), set(due)
    twice = sorted(offset for offset, count in Counter(got).items() if count > 1)
    order = [offset for before, offset in pairwise(got) if offset < before]
    kinds = {
        "missing": sorted(wanted - seen),
        "twice": twice,
        "not for it": sorted(seen - wanted),
        "out of order": order,
    }
    told = ", ".join(f"{kind} {_shown(found)}" for kind, found in kinds.items() if found)
    return [f"{name}: {len(got)} of {len(due)} events: {told}"]


def _shown(found: list[int]) -> str:
    if not found:
        return "none"
    rest = len(found) - SHOWN
    return ", ".join(map(str, found[:SHOWN])) + (f" and {rest} more" if rest > 0 else "")
