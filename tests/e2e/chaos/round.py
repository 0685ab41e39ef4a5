"""One round: the load, every fault in random order, and the verdict."""

import contextlib
import os
import random
import secrets
import threading
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tests.e2e.chaos.accounts import (
    delivery_problems,
    edge_problems,
    emitter_problems,
    relay_problems,
)
from tests.e2e.chaos.faults import Fault, Scene, all_faults
from tests.e2e.chaos.journal_reader import read_journal
from tests.e2e.chaos.judge import address_problems, journal_problems, watcher_problems
from tests.e2e.chaos.lives import EVENTS_PER_S
from tests.e2e.chaos.stage import Stage
from tests.e2e.chaos.traffic import route
from tests.support.waiting import wait_for

SEED_VARIABLE = "CHAOS_SEED"
PAUSE_S = (0.2, 2.0)
"""The time between the starts of two faults."""
CALM_S = 1.0
"""The time with load before the first fault and after the last."""
AT_ONCE = 4
"""The number of faults that may overlap."""
MAX_SHOWN_PROBLEMS = 40
ARRIVAL_TIMEOUT_S = 5.0


class Summary(NamedTuple):
    """The figures of a passed round."""

    seed: int
    seconds: float
    events: int
    deliveries: int
    recovered: int
    """The number of resumed subscriptions."""
    closes: dict[int, int]
    """The number of ended connections by close code."""
    outbox_full: int
    swarm_load: float
    """The share of one core that the checking clients took."""
    probes: str
    """The work of the probes."""

    def __str__(self) -> str:
        rate = self.deliveries / self.seconds
        return (
            f"seed {self.seed}: {self.seconds:.0f} s, {self.events} events,"
            f" {self.deliveries} deliveries ({rate:.0f}/s), {self.recovered} resumes,"
            f" closes {self.closes}, outbox full {self.outbox_full} times,"
            f" clients took {self.swarm_load:.0%} of a core, {self.probes}"
        )


class WrongRound(AssertionError):  # noqa: N818
    """A failed round; the text has the seed, the problems and the last lines of the logs."""


def new_seed() -> int:
    """Return the seed in `CHAOS_SEED`, which repeats a round, or a new one."""
    given = os.environ.get(SEED_VARIABLE)
    return int(given) if given else secrets.randbelow(10**9)


def run_round(seed: int, directory: Path, events_per_s: float = EVENTS_PER_S) -> Summary:
    """Run one round, or raise `WrongRound`."""
    log: list[str] = []
    try:
        stage = Stage(directory, events_per_s)
    except Exception as error:
        raise WrongRound(f"{SEED_VARIABLE}={seed}: the stage could not be set: {error}") from error
    try:
        return _Round(seed, stage, log).run()
    except Exception as error:
        happened = "\n".join(log)
        raise WrongRound(
            f"{SEED_VARIABLE}={seed}: {type(error).__name__}: {error}\n"
            f"--- faults\n{happened}\n{stage.report()}"
        ) from error
    finally:
        stage.close()


class _Round:
    def __init__(self, seed: int, stage: Stage, log: list[str]) -> None:
        self._seed = seed
        self._stage = stage
        self._log = log
        self._random = random.Random(seed)
        self._failed = threading.Event()
        self._started_at = time.monotonic()

    def run(self) -> Summary:
        stage = self._stage
        cpu_s = stage.swarm.cpu_s()
        self._break_things()
        loaded_s = time.monotonic() - self._started_at
        swarm_load = (stage.swarm.cpu_s() - cpu_s) / loaded_s
        told = stage.wait_until_quiet()
        seconds = time.monotonic() - self._started_at
        if problems := self._problems(told):
            shown = problems[:MAX_SHOWN_PROBLEMS]
            raise AssertionError(f"{len(problems)} problems:\n" + "\n".join(shown))
        clients = stage.swarm.clients
        closes: Counter[int] = sum((client.closes for client in clients), start=Counter())
        return Summary(
            self._seed,
            seconds,
            sum(run.recorded for emitter in stage.emitters for run in emitter.runs),
            stage.swarm.deliveries,
            sum(client.record.recovered[True] for client in clients),
            dict(sorted(closes.items())),
            sum(own["outbox_full"] for own in told.values()),
            swarm_load,
            str(stage.probes),
        )

    def _break_things(self) -> None:
        """Apply each fault once, in random order; faults may overlap."""
        faults = all_faults(self._stage.wires.proxies)
        self._random.shuffle(faults)
        locks = {fault.target: threading.Lock() for fault in faults}
        self._failed.wait(CALM_S)
        with ThreadPoolExecutor(AT_ONCE) as threads:
            running: list[Future[None]] = []
            for fault in faults:
                chance = random.Random(self._random.random())
                running.append(threads.submit(self._apply, fault, locks[fault.target], chance))
                self._failed.wait(self._random.uniform(*PAUSE_S))
            for each in running:
                each.result()
        self._failed.wait(CALM_S)

    def _apply(self, fault: Fault, lock: threading.Lock, chance: random.Random) -> None:
        with lock:
            if self._failed.is_set():
                return
            began = time.monotonic() - self._started_at
            self._log.append(f"{began:6.2f} s: {fault.name}")
            try:
                fault.apply(Scene(self._stage, chance, self._failed, self._log.append))
            except BaseException:
                self._failed.set()
                raise
            ended = time.monotonic() - self._started_at
            self._log.append(f"{ended:6.2f} s: {fault.name}, over")

    def _problems(self, told: dict[str, dict[str, int]]) -> list[str]:
        stage = self._stage
        epoch, journal = read_journal(stage.peer)
        runs = [run for emitter in stage.emitters for run in emitter.runs]
        problems = [*stage.probe_problems, *journal_problems(journal, runs)]
        problems += address_problems(journal, route)
        for watcher in stage.watchers:
            problems += watcher_problems(journal, watcher, epoch)
        stats = stage.peer.stats()
        problems += relay_problems(stats)
        problems += emitter_problems(stats, told)
        for index in range(len(stage.edges)):
            problems += self._edge_problems(index)
        return problems

    def _edge_problems(self, index: int) -> list[str]:
        """Return the sums that do not match, after a wait for frames on their way to clients."""
        name, edge = f"edge {index}", self._stage.edges[index]
        problems: list[str] = []

        def agree() -> bool:
            metrics = edge.metrics()
            accounts = self._stage.connections_to(index)
            problems[:] = edge_problems(name, metrics)
            problems.extend(delivery_problems(name, metrics["edge_written"][""], accounts))
            return not problems

        with contextlib.suppress(AssertionError):
            wait_for(agree, "the accounts agree", ARRIVAL_TIMEOUT_S)
        return problems
