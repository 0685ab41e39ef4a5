"""The settings of an emitter: the `EMITTER_*` variables."""

import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

from pydantic import Field

from relay.shared.settings import JournaledKinds, PeerEndpoint, Settings, settings_config
from relay.shared.unknown_variables import unknown_variables
from relay.wire.topics import ADDRESSED, EVENT, TASK

OTHER_VARIABLES = ("EMITTER_RELAY_EGRESS",)
"""The variables of `event-emit tail`."""
_are_reported = threading.Event()


def report_unknown_variables(report: Callable[[str], None]) -> None:
    """Call `report` with a line for each unknown `EMITTER_*` variable, once in a process."""
    if not _are_reported.is_set():
        _are_reported.set()
        for line in unknown_variables(EmitterSettings, os.environ, OTHER_VARIABLES):
            report(line)


def _default_name() -> str:
    return f"{socket.gethostname()}-{os.getpid()}"


class EmitterSettings(Settings):
    """The relay's addresses and this emitter's name."""

    model_config = settings_config("EMITTER_")

    relay_ingress: PeerEndpoint = "tcp://127.0.0.1:5555"
    relay_control: PeerEndpoint = "tcp://127.0.0.1:5557"
    name: str = Field(default_factory=_default_name, min_length=1, max_length=255)
    """The `source` of every event. Any number of processes may share it."""
    journaled_kinds: JournaledKinds = (EVENT, TASK, ADDRESSED)
    """The kinds that the relay journals. Its reply to hello replaces them."""
    spool: Path | None = None
    """A file that keeps the unacknowledged events for the next start."""
