"""The catalogue of event names, with the meaning of each and a model of its `data`.

Emitters may choose other names as well; every client can rely on these. The models describe
payloads, and `emit` takes any map: they are registered as contracts that check nothing, and
`check_catalogue` makes them check. It is the example of `relay.wire.contracts`.
"""

from dataclasses import dataclass
from enum import StrEnum, auto
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model

from relay.wire.contracts import CONTRACTS, Contracts


class EventName(StrEnum):
    """Every event name of the catalogue; `EventName.AFTER_BACKUP == "after_backup"`."""

    BEFORE_ADDON_IMPORT = auto()
    AFTER_ADDON_IMPORT = auto()
    BEFORE_BACKUP = auto()
    AFTER_BACKUP = auto()
    BEFORE_RESTORE = auto()
    AFTER_RESTORE = auto()
    BEFORE_PRUNE_BACKUPS = auto()
    AFTER_PRUNE_BACKUPS = auto()
    BEFORE_PLAYERS_ADD = auto()
    AFTER_PLAYERS_ADD = auto()
    BEFORE_PLAYER_DB_SCAN = auto()
    AFTER_PLAYER_DB_SCAN = auto()
    BEFORE_SERVER_START = auto()
    AFTER_SERVER_START = auto()
    BEFORE_SERVER_STOP = auto()
    AFTER_SERVER_STOP = auto()
    BEFORE_COMMAND_SEND = auto()
    AFTER_COMMAND_SEND = auto()
    BEFORE_ALLOWLIST_CHANGE = auto()
    AFTER_ALLOWLIST_CHANGE = auto()
    BEFORE_SERVER_INSTALL = auto()
    AFTER_SERVER_INSTALL = auto()
    BEFORE_SERVER_UPDATE = auto()
    AFTER_SERVER_UPDATE = auto()
    BEFORE_AUTOSTART_CHANGE = auto()
    AFTER_AUTOSTART_CHANGE = auto()
    AFTER_SERVER_STATUSES_UPDATED = auto()
    BEFORE_WEB_SERVER_START = auto()
    AFTER_WEB_SERVER_START = auto()
    BEFORE_WEB_SERVER_STOP = auto()
    AFTER_WEB_SERVER_STOP = auto()
    BEFORE_WORLD_EXPORT = auto()
    AFTER_WORLD_EXPORT = auto()
    BEFORE_WORLD_IMPORT = auto()
    AFTER_WORLD_IMPORT = auto()
    BEFORE_WORLD_RESET = auto()
    AFTER_WORLD_RESET = auto()
    # Of later versions of the manager that the names above come from.
    BEFORE_SERVER_STATUS_CHANGE = auto()
    AFTER_SERVER_STATUS_CHANGE = auto()
    BEFORE_SERVER_STATUSES_UPDATED = auto()

    @property
    def topic(self) -> str:
        """The topic of the event, for example `event:after_backup`."""
        return f"event:{self.value}"


class EventData(BaseModel):
    """The `data` of any event; further fields are kept."""

    model_config = ConfigDict(extra="allow", frozen=True)


class Outcome(BaseModel):
    """The result of an operation, as most operations report it."""

    model_config = ConfigDict(extra="allow", frozen=True)

    status: Literal["success", "error"]
    message: str | None = None


class AfterEvent(EventData):
    """The `data` of an event that follows an operation."""

    result: Annotated[Outcome | Any, Field(union_mode="left_to_right")] = None
    """The return value of the operation; an `Outcome` with status `error` when it failed."""


class ServerEvent(EventData):
    """The `data` of an event that concerns one server."""

    server_name: str


class AddonImport(ServerEvent):
    addon_file: str | None = None


class Backup(ServerEvent):
    backup_type: str | None = None


class Restore(ServerEvent):
    backup_file: str | None = None


class PruneBackups(ServerEvent):
    keep: int | None = None


class PlayersAdd(EventData):
    players: list[Any] = Field(default_factory=list)


class CommandSend(ServerEvent):
    command: str


class AllowlistChange(ServerEvent):
    added: list[Any] = Field(default_factory=list)
    removed: list[Any] = Field(default_factory=list)


class ServerVersionChange(ServerEvent):
    target_version: str | None = None


class AutostartChange(ServerEvent):
    enabled: bool | None = None


class WebServerStart(EventData):
    host: str | None = None
    port: int | None = None


class WorldFile(ServerEvent):
    file: str | None = None


class ServerStatusChange(ServerEvent):
    status: str | None = None
    """The new status: `RUNNING`, `STOPPED`, `CRASHED`, or a manager's own."""


class ServerPlayers(EventData):
    server_name: str | None = None
    player_count: int | None = None
    players: list[Any] = Field(default_factory=list)


class ServerStatus(EventData):
    """One server in `ServerStatuses`."""

    name: str
    status: str
    """`RUNNING`, `STOPPED`, `CRASHED`, or a manager's own."""
    pid: int | None = None


class ServerStatuses(EventData):
    servers: list[ServerStatus] = Field(default_factory=list)


@dataclass(frozen=True, slots=True)
class EventSpec:
    """One entry of the catalogue."""

    name: EventName
    topic: str
    meaning: str
    model: type[EventData]
    """Describes the event's `data`."""


@dataclass(frozen=True, slots=True)
class _Operation:
    name: str
    verb: str
    """Completes the sentence "About to …"."""
    model: type[EventData]


_OPERATIONS = (
    _Operation("addon_import", "import an add-on into a server", AddonImport),
    _Operation("backup", "back up a server", Backup),
    _Operation("restore", "restore a server from a backup", Restore),
    _Operation("prune_backups", "delete a server's old backups", PruneBackups),
    _Operation("players_add", "add players to the player database", PlayersAdd),
    _Operation("player_db_scan", "scan servers for players to remember", EventData),
    _Operation("server_start", "start a server", ServerEvent),
    _Operation("server_stop", "stop a server", ServerEvent),
    _Operation("command_send", "send a command to a server's console", CommandSend),
    _Operation("allowlist_change", "change who may join a server", AllowlistChange),
    _Operation("server_install", "install a server", ServerVersionChange),
    _Operation("server_update", "update a server to another version", ServerVersionChange),
    _Operation("autostart_change", "change whether a server starts by itself", AutostartChange),
    _Operation("web_server_start", "start the manager's web server", WebServerStart),
    _Operation("web_server_stop", "stop the manager's web server", EventData),
    _Operation("world_export", "export a server's world to a file", WorldFile),
    _Operation("world_import", "replace a server's world by one from a file", WorldFile),
    _Operation("world_reset", "delete a server's world so that it starts afresh", ServerEvent),
    _Operation("server_status_change", "note another status of a server", ServerStatusChange),
)


def _before(operation: _Operation) -> EventSpec:
    name = EventName(f"before_{operation.name}")
    return EventSpec(name, name.topic, f"About to {operation.verb}.", operation.model)


def _after(operation: _Operation) -> EventSpec:
    name = EventName(f"after_{operation.name}")
    meaning = f"Tried to {operation.verb}; `result` tells how it went."
    title = "".join(part.capitalize() for part in name.value.split("_"))
    bases = (AfterEvent, operation.model) if operation.model is not EventData else (AfterEvent,)
    return EventSpec(name, name.topic, meaning, create_model(title, __base__=bases))


def build_catalogue() -> dict[EventName, EventSpec]:
    """Return every event of the catalogue by its name, with models of its own."""
    specs = [spec for each in _OPERATIONS for spec in (_before(each), _after(each))]
    for name, meaning, model in (
        (
            EventName.AFTER_SERVER_STATUSES_UPDATED,
            "The manager's servers and their current status.",
            ServerStatuses,
        ),
        (
            EventName.BEFORE_SERVER_STATUSES_UPDATED,
            "About to tell the players of a server.",
            ServerPlayers,
        ),
    ):
        specs.append(EventSpec(name, name.topic, meaning, model))
    by_name = {spec.name: spec for spec in specs}
    return {name: by_name[name] for name in EventName}


CATALOGUE: dict[EventName, EventSpec] = build_catalogue()
"""Every event of the catalogue by its name, in the order of `EventName`."""


def check_catalogue(contracts: Contracts = CONTRACTS, *, check: bool = True) -> None:
    """Have `emit` check the events of the catalogue from now on, or not any more."""
    for spec in CATALOGUE.values():
        register = contracts.register(
            spec.topic, title=spec.name.value, description=spec.meaning, check=check
        )
        register(spec.model)


check_catalogue(check=False)
