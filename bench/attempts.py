"""The same measurement at every server, whatever happens to one of them."""

from collections.abc import Callable, Mapping
from typing import TypeVar

from bench.load.child import ChildFailed
from bench.peers.peer import Peer
from bench.servers import OURS

Result = TypeVar("Result")
FAILURES = (ChildFailed, OSError, AssertionError)
"""What a server can bring about: it does not start, does not answer, or cannot take so many."""


def try_each(
    peers: Mapping[str, Peer], measure: Callable[[Peer], Result]
) -> tuple[dict[str, Result], tuple[str, ...]]:
    """Return what was measured, by the peers' keys, and a line on each that was not.

    A failure of ours is one of the whole part, and is raised.
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
