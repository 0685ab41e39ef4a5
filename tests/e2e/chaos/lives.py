"""The lives of a load emitter: successive processes with the same name."""

import json
from pathlib import Path

from tests.e2e.chaos.judge import Run
from tests.e2e.chaos.load_emitter import CLOSE_TIMEOUT_S, read_counter
from tests.e2e.chaos.traffic import RUNS_PER_EMITTER
from tests.support.cluster import Cluster
from tests.support.processes import ManagedProcess, python

EVENTS_PER_S = 2000
"""The rate of all emitters together, in the long form."""
EMITTERS = 4
SPOOLING = 2
"""The first emitters have a spool, and may be killed."""
SMALL_OUTBOX_S = 2.0
"""The outbox of the last emitter is full so many seconds after the relay stops."""


class LoadEmitter:
    """One emitter with all of its lives."""

    def __init__(
        self, cluster: Cluster, directory: Path, index: int, rate: float, settings: dict[str, str]
    ) -> None:
        """`rate` is in events/s; `settings` is the environment of its processes."""
        self._settings = settings
        self.name = f"load-{index}"
        self.runs: list[Run] = []
        """The lives that have ended."""
        self._cluster = cluster
        self._directory = directory
        self._index = index
        self._options = [f"--name={self.name}", f"--rate={rate}"]
        if index < SPOOLING:
            self._options.append(f"--spool={directory / self.name}.spool")
        if index == EMITTERS - 1:
            self._options.append(f"--max-events={round(rate * SMALL_OUTBOX_S)}")
        self._process = self._start()

    def kill_and_restart(self) -> None:
        """`kill -9`; its next life sends what this one left in the spool."""
        self._process.kill()
        self._end(killed=True)
        self._process = self._start()

    def accepted(self) -> int:
        """The number of `emit` calls of the present life that have returned."""
        return read_counter(self._counter(len(self.runs)))

    def finish(self) -> dict[str, int]:
        """Close the emitter and return its own counters; `left` must be 0."""
        code = self._process.terminate(CLOSE_TIMEOUT_S + 10)
        output = self._process.output()
        assert output.rstrip().endswith("}"), f"{self.name} ended with {code}:\n{output}"
        told: dict[str, int] = json.loads(output.splitlines()[-1])
        assert code == 0, f"{self.name} has not handed over everything: {told}"
        self._end(killed=False)
        assert told["emitted"] == self.runs[-1].recorded
        return told

    def _start(self) -> ManagedProcess:
        life = len(self.runs)
        arguments = [
            *self._options,
            f"--run={self._index * RUNS_PER_EMITTER + life}",
            f"--counter={self._counter(life)}",
        ]
        name = f"{self.name}, life {life}"
        command = python("-m", "tests.e2e.chaos.load_emitter", *arguments)
        process = self._cluster.start_forked(name, command, **self._settings)
        process.wait_for_output("emitting")
        return process

    def _end(self, *, killed: bool) -> None:
        life = len(self.runs)
        recorded = read_counter(self._counter(life))
        run = self._index * RUNS_PER_EMITTER + life
        self.runs.append(Run(run, self.name, recorded, killed))

    def _counter(self, life: int) -> Path:
        return self._directory / f"{self.name}-{life}.count"
