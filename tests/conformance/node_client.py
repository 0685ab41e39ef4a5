"""`relay-client.js` in Node: a small process that is controlled by JSON lines."""

import itertools
import json
import subprocess
import threading
from typing import Any

from tests.conformance.told import Calling, CallRefused, Heard, Lost, NewEpoch, Refused, Wish
from tests.support.node import find_node
from tests.support.processes import ROOT

SCRIPT = "tests/js/e2e/conformance-client.mjs"
TIMEOUT_S = 20.0


class NodeClient(Calling):
    """One process with one client, which ends with its standard input."""

    def __init__(self, wish: Wish) -> None:
        super().__init__(wish)
        self._ids = itertools.count(1)
        self._outcomes: dict[int, dict[str, Any]] = {}
        self._has_outcome = threading.Condition()
        options = {"url": wish.url, "patterns": wish.patterns, "last": wish.last}
        self._process = subprocess.Popen(
            [find_node(), SCRIPT, json.dumps(options)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, name="node")
        self._reader.start()

    def publish(self, topic: str, data: Any, username: str | None = None) -> None:
        """See `Calling`."""
        self._call("publish", topic, data, {} if username is None else {"username": username})

    def request(self, method: str, params: Any) -> Any:
        """See `Calling`."""
        return self._call("request", method, params)

    def close(self) -> None:
        """See `Driver`."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise
        finally:
            self._reader.join()
            assert self._process.stdout is not None
            self._process.stdout.close()

    def _call(self, name: str, *arguments: object) -> Any:
        call_id = next(self._ids)
        self._say({"type": "call", "id": call_id, "name": name, "arguments": arguments})
        with self._has_outcome:
            assert self._has_outcome.wait_for(lambda: call_id in self._outcomes, TIMEOUT_S)
        outcome = self._outcomes.pop(call_id)
        if "code" in outcome:
            raise CallRefused(outcome["code"])
        return outcome["value"]

    def _say(self, command: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{json.dumps(command)}\n")
        self._process.stdin.flush()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            try:
                self._take(json.loads(line))
            except Exception as error:  # noqa: BLE001 - the test must see it
                self.faults.append(f"{line}: {error!r}")

    def _take(self, line: dict[str, Any]) -> None:
        match line:
            case {"type": "token"}:
                self._say({"type": "token", "token": self.wish.token()})
            case {"type": "heard", "via": via, "topic": topic, "data": {"n": n}}:
                self.told.append(Heard(via, topic, n, line.get("offset"), line["retained"]))
            case {"type": "gap", "stream": stream, "from": first, "to": last}:
                self.told.append(Lost(stream, first, last))
            case {"type": "restart"}:
                self.told.append(NewEpoch())
            case {"type": "refused", "topic": topic, "code": code}:
                self.told.append(Refused(topic, code))
            case {"type": "state", "name": "live"}:
                self.live()
            case {"type": "state", "name": "waiting", "code": code}:
                self.lost(code)
            case {"type": "outcome", "id": call_id}:
                with self._has_outcome:
                    self._outcomes[call_id] = line
                    self._has_outcome.notify_all()
            case {"type": "state" | "position"}:
                pass
            case _:
                self.faults.append(f"not understood: {line}")
