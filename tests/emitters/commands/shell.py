"""`event-emit` as a shell user runs it."""

import json
import subprocess
from typing import Any

from tests.support.cluster import Cluster
from tests.support.processes import python, run_cli
from tests.support.waiting import wait_for

Line = dict[str, Any]


class Tail:
    """A running `event-emit tail`."""

    def __init__(self, cluster: Cluster, *arguments: str) -> None:
        self._path = cluster.directory / "tail.out"
        command = python("-m", "emitters", "tail", "--egress", cluster.egress, *arguments)
        self.process = cluster.start_writing(self._path, "tail", command)
        self.process.wait_for_output("watching")

    def output(self) -> str:
        """Its standard output so far."""
        return self._path.read_text()

    def lines(self) -> list[Line]:
        """The events so far."""
        complete = self.output().rpartition("\n")[0].splitlines()
        return [json.loads(line) for line in complete]

    def wait_lines(self, count: int) -> list[Line]:
        """Return the first `count` events."""
        wait_for(lambda: len(self.lines()) >= count, f"tail prints {count} events")
        return self.lines()[:count]

    def wait_task_end(self) -> list[Line]:
        """Return all updates of the first task that ended."""
        wait_for(
            lambda: any(line["data"]["status"] != "in_progress" for line in self.lines()),
            "a task ends",
        )
        return self.lines()


def emit(
    cluster: Cluster, *arguments: str, stdin: str = "", **env: str
) -> subprocess.CompletedProcess[str]:
    """Run `event-emit` to its end."""
    return run_cli("emitters", *arguments, env=cluster.env | env, stdin=stdin)
