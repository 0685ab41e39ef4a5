"""Finds the epoch under which a journal continues when a relay opens it.

`relay.core.epochs` decides what proves a rollback; here are the clock, the boot id and the log.
"""

import json
import logging
import secrets
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from relay.core.epochs import RANDOM_BITS, Origin, lost_tails, next_epoch
from relay.journal.format import A_COPY
from relay.journal.reader import JournalReader
from relay.journal.tail_note import TailNote

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

logger = logging.getLogger(__name__)


class FoundOrigin(NamedTuple):
    """The epoch of a journal that was opened."""

    origin: Origin
    is_new: bool
    """Whether the epoch begins now."""
    is_rolled_back: bool
    """Whether acknowledged events are known to be missing, or may be."""


def find_origin(
    reader: JournalReader, noted: TailNote | None, streams: Iterable[str]
) -> FoundOrigin:
    """Return the origin of the journal of `reader`, beside which the note `noted` was found."""
    present = reader.origin()
    known = [noted.epoch] if noted else []
    if present is None:
        previous = None if noted is None else noted.epoch
        if previous is not None:
            logger.error("the journal of epoch %d is gone: a new epoch begins", previous)
        return FoundOrigin(Origin(new_epoch(known), previous, {}), True, previous is not None)
    reason = _reason_for_a_new_epoch(reader, present.epoch, noted)
    if reason is None:
        return FoundOrigin(present, False, False)
    origin = Origin(
        new_epoch([present.epoch, *known]),
        present.epoch,
        {stream: reader.tail(stream).last_offset for stream in streams},
    )
    logger.error(
        "%s: the newest acknowledged events may be missing, so epoch %d begins",
        reason,
        origin.epoch,
    )
    return FoundOrigin(origin, True, True)


def new_epoch(known: Iterable[int]) -> int:
    """Return a new epoch, greater than all `known` ones."""
    return next_epoch(int(time.time()), secrets.randbits(RANDOM_BITS), known)


def boot_id() -> str:
    """Return the id of this start of the machine, empty where there is none."""
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return ""


def meta_of(origin: Origin) -> dict[str, str]:
    """Return `origin` as `meta` holds it."""
    meta = {"epoch": str(origin.epoch), "began": json.dumps(dict(origin.began))}
    return meta if origin.previous is None else meta | {"previous": str(origin.previous)}


def meta_of_run(*, power_safe: bool) -> dict[str, str]:
    """Return the entries of `meta` while a relay has the journal open."""
    return {"boot_id": "" if power_safe else boot_id(), "noted": boot_id()}


def _reason_for_a_new_epoch(
    reader: JournalReader, epoch: int, noted: TailNote | None
) -> str | None:
    meta = reader.meta()
    written_under = meta.get("boot_id", "")
    if written_under == A_COPY:
        return "the journal is a copy"
    if written_under not in ("", boot_id()):
        return "this machine went down while the journal was open"
    if noted is None:
        if meta.get("noted", "") not in ("", boot_id()):
            return None
        return "the note beside the journal is missing" if meta.get("noted") else None
    if noted.epoch != epoch:
        return f"the journal has epoch {epoch}, and the note beside it epoch {noted.epoch}"
    found = {
        stream: reader.found_tail(stream, tail.last_offset)
        for stream, tail in noted.tails.items()
        if stream in reader.stream_names
    }
    if lost := lost_tails(noted.tails, found):
        places = ", ".join(f"{stream} {noted.tails[stream].last_offset}" for stream in lost)
        return f"the journal does not hold the noted {places}"
    return None
