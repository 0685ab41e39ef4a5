"""The program that emits: one life of one emitter, at a steady rate, until SIGTERM.

How many emits have returned stands in a memory-mapped file, which survives `kill -9`.
"""

import argparse
import json
import mmap
import signal
import sys
import time
from pathlib import Path

from emitters import Emitter, OutboxFull
from tests.e2e.chaos.traffic import payload, route

TICK_S = 0.01
RETRY_S = 0.05
"""The wait after `OutboxFull`; the refused event is emitted again."""
MAX_BEHIND_S = 1.0
"""An emitter that is further behind continues at its rate and does not catch up."""
CLOSE_TIMEOUT_S = 60.0


class Stopping:
    """Whether SIGTERM has come. Not an `Event`: its lock is taken while it is waited for, and the
    handler would wait for that lock for ever."""

    has_begun = False

    def begin(self, *_: object) -> None:
        """Handle the signal."""
        self.has_begun = True


class Counter:
    """An unsigned integer in a file that other processes can read, also after this one ends."""

    def __init__(self, path: Path) -> None:
        with path.open("w+b") as file:
            file.truncate(8)
            self._memory = memoryview(mmap.mmap(file.fileno(), 8)).cast("Q")

    def set(self, value: int) -> None:
        """Write `value`, in one store."""
        self._memory[0] = value


def read_counter(path: Path) -> int:
    """Return the value in the file of a `Counter`."""
    return int.from_bytes(path.read_bytes(), sys.byteorder)


def main() -> None:
    """Emit until SIGTERM, close, and print the outcome as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", required=True)
    parser.add_argument("--run", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--counter", type=Path, required=True)
    parser.add_argument("--spool", type=Path)
    parser.add_argument("--max-events", type=int, default=100_000)
    options = parser.parse_args()
    stopping = Stopping()
    signal.signal(signal.SIGTERM, stopping.begin)
    emitter = Emitter(name=options.name, max_events=options.max_events, spool=options.spool)
    print("emitting", flush=True)
    emitted, refused = _emit(emitter, options.run, options.rate, Counter(options.counter), stopping)
    left = emitter.close(CLOSE_TIMEOUT_S)
    print(json.dumps({"emitted": emitted, "left": left, "outbox_full": refused}), flush=True)
    raise SystemExit(left != 0)


def _emit(
    emitter: Emitter, run: int, rate: float, counter: Counter, stopping: Stopping
) -> tuple[int, int]:
    """Return how many events were taken, and how often the outbox was full."""
    number, refused = 1, 0
    due_at = time.monotonic()
    while not stopping.has_begun:
        now = time.monotonic()
        due_at = max(due_at, now - MAX_BEHIND_S)
        if due_at > now:
            time.sleep(TICK_S)
            continue
        topic, username = route(run, number)
        try:
            emitter.emit(topic, payload(run, number, topic), username=username)
        except OutboxFull:
            refused += 1
            time.sleep(RETRY_S)
            continue
        counter.set(number)
        number += 1
        due_at += 1 / rate
    return number - 1, refused


if __name__ == "__main__":
    main()
