"""`LinkWatch`: tells of what keeps events from the relay, in the log and as `Emitter.state`."""

import logging
import time

from emitters.config import EmitterSettings
from emitters.core.connection_watch import ConnectionWatch, Trouble
from emitters.core.emitter_state import EmitterState, EmitterStatus

logger = logging.getLogger(__name__)


class LinkWatch:
    """Lives in the link thread; any thread reads `state`."""

    def __init__(self, name: str, settings: EmitterSettings) -> None:
        self._name = name
        self._addresses = {
            "ingress": settings.relay_ingress,
            "control": settings.relay_control,
        }
        self._watch = ConnectionWatch()
        self._trouble: Trouble | None = None
        self.state = EmitterState(EmitterStatus.CONNECTING, "", time.time())

    def look(self, trouble: Trouble | None) -> None:
        """Take notice of the present trouble, and log it when that is due."""
        if trouble != self._trouble:
            self._trouble = trouble
            self.state = self._state_with(trouble)
        if self._watch.is_due(time.monotonic(), trouble):
            logger.error("%s: %s", self._name, self.state.reason)

    def end(self, reason: str) -> None:
        """Note that no events are taken any more."""
        self.state = EmitterState(EmitterStatus.CLOSED, reason, time.time())

    def _state_with(self, trouble: Trouble | None) -> EmitterState:
        status = EmitterStatus.CONNECTED if trouble is None else trouble.status
        reason = "" if trouble is None else trouble.text.format(**self._addresses)
        # A relay that was found in part is still the one that was not found.
        since = self.state.since if status is self.state.status else time.time()
        return EmitterState(status, reason, since)
