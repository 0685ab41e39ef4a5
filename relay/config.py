"""The settings of the relay: the `RELAY_*` variables."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from relay.shared.settings import Endpoint, JournaledKinds, Settings, settings_config
from relay.wire.topics import EVENT, TASK


class RelaySettings(Settings):
    """Where the relay listens and what it numbers."""

    model_config = settings_config("RELAY_")

    ingress: Endpoint = "tcp://127.0.0.1:5555"
    """Emitters connect here."""
    egress: Endpoint = "tcp://127.0.0.1:5556"
    """Edges subscribe here."""
    control: Endpoint = "tcp://127.0.0.1:5557"
    """Everybody asks here."""
    data_dir: Path = Field(default_factory=lambda: Path.home() / ".event-relay")
    """Holds the journal."""
    durability: Literal["process", "power"] = "process"
    """What an acknowledged event survives: the end of the process, or a power cut as well."""
    retention_s: float = Field(default=7 * 86400.0, gt=0, le=100 * 365 * 86400)
    """How long an event is kept for replay."""
    retention_bytes: int = Field(default=256 * 1024 * 1024, ge=64 * 1024)
    """Of each stream; the oldest events go first."""
    journaled_kinds: JournaledKinds = (EVENT, TASK)
    heartbeat_s: float = Field(default=1.0, ge=0.05, le=60)
    egress_hwm: int = Field(default=100_000, ge=1, le=2**31 - 1)
    """Messages queued for one edge before its newest are dropped, which that edge notices."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
