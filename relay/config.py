"""The settings of the relay: the `RELAY_*` variables."""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from relay.settings import CommaSeparated, Endpoint, Settings, settings_config
from relay.wire.topics import EVENT, TASK

_KIND = re.compile(r"[a-z0-9-]{1,64}\Z")


def _check_kinds(kinds: tuple[str, ...]) -> tuple[str, ...]:
    for kind in kinds:
        if not _KIND.match(kind):
            raise ValueError(f"{kind!r} is not a kind: use a-z, 0-9 and '-'")
    if TASK not in kinds:
        raise ValueError(f"must contain {TASK!r}, whose events may not be lost")
    return tuple(dict.fromkeys(kinds))


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
    journaled_kinds: Annotated[CommaSeparated, AfterValidator(_check_kinds)] = (EVENT, TASK)
    heartbeat_s: float = Field(default=1.0, ge=0.05, le=60)
    egress_hwm: int = Field(default=100_000, ge=1, le=2**31 - 1)
    """Messages queued for one edge before its newest are dropped, which that edge notices."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
