"""The same measurement at every server; a failing server does not stop the others."""

from collections.abc import Callable, Mapping
from typing import TypeVar

from bench.load.child import ChildFailed
from bench.peers.peer import Peer
from bench.servers import OURS

Result = TypeVar("Result")
FAILURES = (ChildFailed, OSError, AssertionError)
"""Faults of a server: it does not start, does not answer, or cannot take so many clients."""


def try_each(
    peers: Mapping[str, Peer], measure: Callable[[Peer], Result]
) -> tuple[dict[str, Result], tuple[str, ...]]:
    """Return the results by the peers' keys, and a line for each peer that was not measured.

    A failure of Event Relay itself is raised, and ends the whole part.
    """
    results: dict[str, Result] = {}
    notes: list[str] = []
    for key, peer in peers.items():
        if missing := peer.missing():
            notes.append(f"{peer.name} is not installed: {missing}")
            continue
        try:
            results[key] = measure(peer)
        except FAILURES as error:
            if key == OURS:
                raise
            notes.append(f"{peer.name} was not measured: {_last_line(error)}")
    return results, tuple(notes)


def _last_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1] if lines else type(error).__name__
