"""When the streams begin a new epoch, and which number it gets (protocol section 4).

Within an epoch an offset names one event for ever. A journal that has lost its newest events would
give their offsets out again, so it continues under a new epoch. The proof of such a rollback is
the note beside the journal, an emitter that was acknowledged more (`relay.core.proofs`), or an edge
that has seen more.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

RANDOM_BITS = 20
"""The low bits of an epoch. Together with the seconds above them an epoch stays below 2**53, the
greatest integer of a browser, for two hundred years."""


class Tail(NamedTuple):
    """The newest row of a stream."""

    last_offset: int
    """0 before the first event."""
    checksum: int
    """Of the row; 0 before the first event."""


class FoundTail(NamedTuple):
    """The journal's answer to a noted `Tail`."""

    first_offset: int
    last_offset: int
    checksum: int | None
    """Of the row that ends at the noted offset, None without such a row."""


NOTHING_FOUND = FoundTail(1, 0, None)
"""The answer of a stream without events."""


class Origin(NamedTuple):
    """An epoch, and the place where it began."""

    epoch: int
    previous: int | None
    """The epoch that this journal, or the one before it in its place, had before; None if none."""
    began: Mapping[str, int]
    """Stream to the last offset that both epochs share; 0 where it names no offset."""


def next_epoch(now_s: int, random: int, known: Iterable[int] = ()) -> int:
    """Return a new epoch, greater than all `known` ones.

    `now_s` is Unix time. A clock that was set back may show a second again: the `RANDOM_BITS` of
    `random` keep a journal without memory from giving out one of its predecessor's epochs.
    """
    return max(now_s << RANDOM_BITS | random, *(epoch + 1 for epoch in known), 1)


def lost_tails(noted: Mapping[str, Tail], found: Mapping[str, FoundTail]) -> list[str]:
    """Return the streams whose noted tail the journal no longer has.

    A journal may be ahead of its note: the process was killed after a commit. It may also have
    removed the noted row since, by retention.
    """
    return [
        stream
        for stream, tail in noted.items()
        if tail.last_offset and not _has_tail(tail, found.get(stream, NOTHING_FOUND))
    ]


def _has_tail(noted: Tail, found: FoundTail) -> bool:
    if noted.last_offset < found.first_offset <= found.last_offset:
        return True
    return found.checksum == noted.checksum
