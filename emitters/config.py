"""The settings of an emitter: the `EMITTER_*` variables."""

import os
import socket
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from relay.shared.relay_client import RelayClientSettings
from relay.shared.settings import JournaledKinds, PeerEndpoint, settings_config
from relay.wire.topics import EVENT, INTERNAL_STREAMS, TASK


def _default_name() -> str:
    return f"{socket.gethostname()}-{os.getpid()}"


class EmitterSettings(RelayClientSettings):
    """The relay's addresses and this emitter's name."""

    model_config = settings_config("EMITTER_")
    others_of_section: ClassVar[tuple[str, ...]] = ("relay_egress",)
    """The setting of `event-emit tail`."""

    relay_ingress: PeerEndpoint = "tcp://127.0.0.1:5555"
    relay_control: PeerEndpoint = "tcp://127.0.0.1:5557"
    name: str = Field(default_factory=_default_name, min_length=1, max_length=255)
    """The `source` of every event. Any number of processes may share it."""
    journaled_kinds: JournaledKinds = (EVENT, TASK, *INTERNAL_STREAMS)
    """The kinds that the relay journals. Its reply to hello replaces them. Until then, and if
    neither a variable nor `relay.toml` names them, every kind but `resource-monitor` may be one."""
    spool: Path | None = None
    """A file that keeps the unacknowledged events for the next start."""
