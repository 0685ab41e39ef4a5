"""The settings of the relay: the `RELAY_*` variables."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from relay.shared.curve_keys import KeyPair, read_key_file
from relay.shared.relay_client import CurveKeyFile
from relay.shared.settings import (
    MAX_BYTES,
    JournaledKinds,
    ListenEndpoint,
    LogLevel,
    Settings,
    default_data_dir,
    settings_config,
)
from relay.wire.kinds import MAX_RETENTION_BYTES, MAX_RETENTION_S, MIN_RETENTION_BYTES
from relay.wire.topics import EVENT, INTERNAL_STREAMS, TASK


class RelaySettings(Settings):
    """Addresses, journal, retention and limits of the relay."""

    model_config = settings_config("RELAY_")

    ingress: ListenEndpoint = "tcp://127.0.0.1:5555"
    """Emitters connect here."""
    egress: ListenEndpoint = "tcp://127.0.0.1:5556"
    """Edges subscribe here."""
    control: ListenEndpoint = "tcp://127.0.0.1:5557"
    """Emitters, edges and tools send requests here."""
    curve_key_file: CurveKeyFile = None
    """The relay's key. With it, TCP is encrypted and takes listed keys only."""
    plain_tcp: bool = False
    """Whether to listen beyond loopback without a key, to everybody who can reach the port."""
    data_dir: Path = Field(default_factory=lambda: default_data_dir("RELAY_DATA_DIR"))
    """The directory of the journal."""
    durability: Literal["process", "power"] = "process"
    """Acknowledged events survive the end of the process, or with `power` a power cut as well."""
    retention_s: float = Field(default=7 * 86400.0, gt=0, le=MAX_RETENTION_S)
    """Seconds for which an event is kept for replay."""
    retention_bytes: int = Field(
        default=256 * 1024 * 1024, ge=MIN_RETENTION_BYTES, le=MAX_RETENTION_BYTES
    )
    """For each stream. Above it, the oldest events are removed."""
    journaled_kinds: JournaledKinds = (EVENT, TASK, *INTERNAL_STREAMS)
    """The kinds of topics that are streams; all others are live."""
    task_grace_s: float = Field(default=30.0, ge=0, le=7 * 86400)
    """Seconds for which an emitter may be away before the relay ends its unfinished tasks."""
    heartbeat_s: float = Field(default=1.0, ge=0.05, le=60)
    """Seconds between heartbeats."""
    egress_hwm: int = Field(default=100_000, ge=1, le=2**31 - 1)
    """Messages queued for one edge. Above it, its newest messages are dropped; the edge notices the
    gap and replays them."""
    egress_bytes: int = Field(default=128 * 1024 * 1024, ge=1024 * 1024, le=MAX_BYTES)
    """Bytes that may wait for one edge. Above it, the edge is disconnected; it connects again and
    replays what it missed."""
    log_level: LogLevel = "INFO"

    @property
    def keys(self) -> KeyPair | None:
        """The relay's own key, None without encryption. Raises `ValueError`."""
        return None if self.curve_key_file is None else read_key_file(self.curve_key_file)
