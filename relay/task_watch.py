"""`TaskWatch`: ends the tasks of emitters that are gone, with updates of the relay's own."""

import logging
import math

from relay.core.emitters import Reach
from relay.core.orphans import TaskOwner, is_orphan, orphaned_state
from relay.core.retained import topic_of
from relay.shared.logs import LimitedLog
from relay.state import SharedState, new_event_id
from relay.wire.envelope import pack_envelope, unpack_envelope
from relay.wire.errors import WireError
from relay.wire.topics import TASK

LATE_S = 1.0

logger = logging.getLogger(__name__)


class TaskWatch:
    """Finds orphaned tasks by `core.orphans`, and puts their final updates into the intake.

    From there they are numbered, journaled and published like the update of a plain publisher. A
    task is finished with its commit, and not before: so its final update is published once, also
    across a crash.
    """

    def __init__(self, state: SharedState, reach: Reach, interval_s: float) -> None:
        """`end_orphans` is to be called about every `interval_s` seconds."""
        self._state = state
        self._reach = reach
        self._latest_after_s = LATE_S + 2 * interval_s
        self._looked_at = -math.inf
        self._log = LimitedLog(logger)
        self._on_their_way: set[str] = set()
        """Tasks whose final updates may wait for the disk."""

    def end_orphans(self, now: float, now_ms: int) -> bool:
        """Take final updates of orphaned tasks; return whether there are any to be committed.

        `now` is in monotonic seconds, `now_ms` Unix time in milliseconds.
        """
        if not self._state.intake.journaling:
            self._on_their_way.clear()
            return False
        if now - self._looked_at > self._latest_after_s:
            # The relay itself stood still: what its peers have sent meanwhile is not read yet.
            self._state.owners.forget_absences()
        self._looked_at = now
        if not self._state.counters.waiting:
            self._on_their_way.clear()
        ended = [
            self._end(key, now_ms)
            for key in self._state.owners.orphaned(now, self._presence)
            if key not in self._on_their_way
        ]
        return any(ended)

    def _presence(self, owner: TaskOwner) -> int | None:
        emitter = self._state.emitters.get(owner.emitter_id)
        if emitter is None or emitter.epoch != owner.epoch or not self._reach(emitter):
            return None
        return emitter.inherited

    def _end(self, key: str, now_ms: int) -> bool:
        frames = self._state.retained.get(key)
        try:
            state = None if frames is None else unpack_envelope(frames[2], TASK)
            if state is None or not is_orphan(state):
                self._state.owners.forget(key)
                return False
            final = orphaned_state(state, now_ms, new_event_id())
            self._state.intake.take([topic_of(key).encode(), pack_envelope(final, TASK)], now_ms)
        except WireError as error:
            # Its state is damaged, or was taken by a relay with other limits.
            self._state.owners.forget(key)
            self._log.warning("orphan", "%s cannot be ended: %s", topic_of(key), error)
            return False
        self._on_their_way.add(key)
        self._log.warning(
            "ended", "%s of %s ends: its emitter is gone", topic_of(key), state.source
        )
        return True
