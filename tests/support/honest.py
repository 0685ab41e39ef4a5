"""Honest clients beside an attack: nobody is closed, and no event is missed or comes twice."""

import itertools
import threading
from types import TracebackType
from typing import Self

from tests.support.clients import Client
from tests.support.cluster import Cluster, Edge
from tests.support.waiting import wait_for

INTERVAL_S = 0.05


class Honest:
    """Clients that watch a numbered topic all the time, in a thread each."""

    def __init__(self, cluster: Cluster, edge: Edge, clients: int = 3) -> None:
        self._emitter = cluster.emitter("honest")
        self._end = threading.Event()
        self._counts = [0] * clients
        self._faults: list[str] = []
        self._threads = [threading.Thread(target=self._emit)]
        for index in range(clients):
            client = cluster.connect(edge, f"honest-{index}", "admin")
            client.subscribe("event:honest")
            self._threads.append(threading.Thread(target=self._watch, args=(index, client)))

    def __enter__(self) -> Self:
        for each in self._threads:
            each.start()
        self.is_served()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        if kind is None:
            self.is_served()
        self._end.set()
        for each in self._threads:
            each.join()

    def is_served(self) -> None:
        """Each client gets events that are emitted from now on; nobody was disturbed so far."""
        before = list(self._counts)
        wait_for(
            lambda: self._faults or all(map(int.__lt__, before, self._counts)),
            "honest clients get events",
        )
        assert self._faults == []

    def _emit(self) -> None:
        for number in itertools.count(1):
            is_last = self._end.wait(INTERVAL_S)
            # Also a last one, for those who wait for it.
            self._emitter.emit("event:honest", {"number": number})
            if is_last:
                return

    def _watch(self, index: int, client: Client) -> None:
        try:
            for number in itertools.count(1):
                if self._end.is_set():
                    return
                message = client.receive_on("event:honest", timeout=60)
                if message["data"]["number"] != number:
                    self._faults.append(f"{message} came in place of {number}")
                    return
                self._counts[index] = number
        except Exception as error:  # noqa: BLE001 - whatever it is, the client was disturbed
            self._faults.append(repr(error))
